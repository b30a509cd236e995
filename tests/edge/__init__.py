"""The promises of `service.edge`, each beside what Hypercorn does by itself."""

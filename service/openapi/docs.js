// Starts swagger-ui on the document of the service that served this page.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  // Its default sends the document's address to a validator on another host.
  validatorUrl: null,
});

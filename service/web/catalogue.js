// The models to choose from, and sets of them. Pure.

/** Models in one question, unless the service is told otherwise; it refuses what is too many. */
export const USUAL_MOST = 9;

/** Words in an id by which makers call their small and fast ones. */
const FAST = /\b(swift|flash|mini|haiku|nano|lite|small|instant|fast|turbo|terse|[1-9]b)\b/i;

const behaves = (model) => model.well_behaved !== false;
const textPrice = (model) => (model.price ? model.price.input + 3 * model.price.output : Infinity);

/** Sets by name: [{name, why, ids}], those that make sense for `models`. */
export function presets(models, speeds) {
  const good = models.filter(behaves);
  const measured = good.filter((model) => model.id in speeds).sort((a, b) => speeds[a.id] - speeds[b.id]);
  const named = good.filter((model) => FAST.test(model.id) && !measured.includes(model));
  const fast = [...measured, ...named, ...good.filter((model) => !measured.includes(model) && !named.includes(model))];
  const priced = good.filter((model) => model.price).sort((a, b) => textPrice(a) - textPrice(b));
  const makers = [...new Map(good.map((model) => [model.provider, model])).values()];
  const sets = [
    { name: "Three to start with", why: "the first of the list", models: good.slice(0, 3) },
    { name: "Three fast ones", why: measured.length >= 3 ? "as measured in this browser" : "by their names, until some have been measured here", models: fast.slice(0, 3) },
    { name: "Three cheap ones", why: "by list price", models: priced.some((model) => textPrice(model) > 0) ? priced.slice(0, 3) : [] },
    { name: "One of each maker", why: "the first of each", models: makers.length > 1 ? makers.slice(0, USUAL_MOST) : [] },
    { name: "Nine at once", why: "the first nine of the list", models: good.length >= 9 ? good.slice(0, 9) : [] },
    { name: "When things go wrong", why: "two that answer, three that fail in their own ways", models: ["sim:swift", "sim:steady", "sim:refuses", "sim:truncates", "sim:stalls"].map((id) => models.find((model) => model.id === id)).filter(Boolean) },
  ];
  return sets
    .filter((set) => set.models.length > 1)
    .map(({ name, why, models: chosen }) => ({ name, why, ids: chosen.map((model) => model.id) }));
}

/** The models that have every word of `words` somewhere, of `maker` ("" for any), in an order. */
export function search(models, words, maker, order) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  const found = models.filter((model) => {
    const text = `${model.id} ${model.name} ${model.provider} ${model.category} ${model.description}`.toLowerCase();
    return (maker === "" || model.provider === maker) && wanted.every((word) => text.includes(word));
  });
  if (order === "price") return found.sort((a, b) => textPrice(a) - textPrice(b));
  if (order === "context") return found.sort((a, b) => (b.context_length ?? 0) - (a.context_length ?? 0));
  if (order === "name") return found.sort((a, b) => a.name.localeCompare(b.name));
  return found;
}

/** What can be asked if nothing is known: the simulator is always there. */
export const WITHOUT_LIST = ["sim:swift", "sim:steady", "sim:thinker"];

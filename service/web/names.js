// What models are called. Pure.

/** Ids as the service names them: the second of the same is `<id>#2`, and so on. */
export function uniqueNames(ids) {
  const seen = new Map();
  return ids.map((id) => {
    const count = (seen.get(id) ?? 0) + 1;
    seen.set(id, count);
    return count === 1 ? id : `${id}#${count}`;
  });
}

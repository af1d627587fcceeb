// Loaded before the daemon: one of its dependencies uses Promise.withResolvers, which Node has since version 22.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}

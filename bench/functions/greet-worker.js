// The same greeting for workerd as examples/hello-wasm-js.
export default {
  async fetch(request) {
    const { name } = await request.json();
    return Response.json({ greeting: `Hello, ${name}!`, method: request.method, path: new URL(request.url).pathname });
  },
};

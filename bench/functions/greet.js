// The same greeting for the JavaScript rivals as examples/hello-wasm-js: `node greet.js` prints its address.
const http = require("node:http");

const server = http.createServer(async (request, response) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  const { name } = JSON.parse(Buffer.concat(pieces).toString());
  const body = JSON.stringify({ greeting: `Hello, ${name}!`, method: request.method, path: request.url });
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
});
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));

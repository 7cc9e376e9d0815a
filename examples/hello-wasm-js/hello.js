// Greets over HTTP, and prints a line to the log: a component of the wasi:http proxy world.
// A call from the Lambda API arrives as `POST /` with the event as its body; the response's body is the answer.
// A function URL's request arrives as it is.

addEventListener("fetch", (event) => event.respondWith(greet(event.request)));

async function greet(request) {
  const { name } = await request.json();
  console.log(`greeting ${name}`);
  return Response.json({
    greeting: `Hello, ${name}!`,
    method: request.method,
    path: new URL(request.url).pathname,
  });
}

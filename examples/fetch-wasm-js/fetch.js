// Asks others over HTTP: a component of the wasi:http proxy world that sends requests of its own.
// The event names what to ask; what it may ask is its function's network's to say (`squall deploy --egress`).

addEventListener("fetch", (event) => event.respondWith(ask(event.request)));

async function ask(request) {
  const { url, method, body } = await request.json();
  try {
    const answer = await fetch(url, { method: method ?? "GET", body });
    return Response.json({ status: answer.status, type: answer.headers.get("content-type"), text: await answer.text() });
  } catch (error) {
    return Response.json({ error: String(error) });
  }
}

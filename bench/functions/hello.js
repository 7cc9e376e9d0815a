const fs = require('fs');
let calls = 0;

exports.handler = async (event) => ({ greeting: `Hello, ${event.name}!` });

// Answers at once, or waits until somebody opens the pipe: so the next call needs another instance.
exports.cold = async (event) => {
  if (event.hold) {
    fs.writeFileSync(event.in, '');
    await fs.promises.readFile(event.hold);
  }
  calls += 1;
  return JSON.stringify(calls);
};

// Answers questions with an interactive figure's own arithmetic, in Node: standard input names
// a file and calls, each a function of that file and its arguments; the answers go to standard
// output. Arrays of numbers arrive as Float64Array, except within an argument named plain.

(function () {
  "use strict";

  const isNumbers = (value) => Array.isArray(value) && value.length && value.every((x) => typeof x === "number");
  const typed = (value) => {
    if (isNumbers(value)) return Float64Array.from(value);
    if (Array.isArray(value)) return value.map(typed);
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, typed(item)]));
    }
    return value;
  };
  const untyped = (key, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);

  const { file, calls } = JSON.parse(require("fs").readFileSync(0, "utf8"));
  const engine = require(file);
  const answers = calls.map(([name, ...given]) => engine[name](...typed(given)));
  process.stdout.write(JSON.stringify(answers, untyped));
})();

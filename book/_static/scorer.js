/* Who searches for a theorem by its number means the page with that title: one that begins
   with the words comes first, and one that has them in this order before one that has not. */
var Scorer = {
  score: ([, title, , , score]) => {
    const words = (text) => text.replace(/<[^>]*>/g, "").toLowerCase().trim();
    const sought = words(new URLSearchParams(location.search).get("q") || "");
    const found = words(title || "");
    if (sought && found.startsWith(sought)) return score + 200;
    return sought && found.includes(sought) ? score + 100 : score;
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};

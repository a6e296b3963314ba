// Runs in every page that is examined, after axe.
(() => {
  const QUICK = { iframes: false, preload: false };
  const FIELDS = "input:not([type=checkbox], [type=radio], [type=hidden]), select, textarea";
  // What decides whether a text can be read, of its element and of all that this is in.
  const STYLE = [
    "color", "background-color", "background-image", "opacity", "mix-blend-mode", "position",
    "font-size", "font-weight", "text-shadow",
  ];
  // The largest prime below 2 to the 48th: what it leaves, times 31, is still a whole number.
  const PRIME = 281474976710597;

  const hash = (text) => {
    let sum = 0;
    for (let at = 0; at < text.length; at += 1) sum = (sum * 31 + text.charCodeAt(at)) % PRIME;
    return sum.toString(36);
  };

  // Return a function that sums up an element and all that it is in: their names, and their style.
  const makeLook = () => {
    const found = new Map();
    const look = (element) => {
      if (!element) return "";
      if (!found.has(element)) {
        const style = getComputedStyle(element);
        const names = [element.localName, element.getAttribute("class")];
        const own = [...names, ...STYLE.map((name) => style.getPropertyValue(name))];
        found.set(element, hash([look(element.parentElement), ...own].join("|")));
      }
      return found.get(element);
    };
    return look;
  };

  // Axe can tell nothing of a single character.
  const hasText = (element) =>
    element.matches(FIELDS) ||
    (element.textContent.trim().length > 1 &&
      [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));

  const CLEAR = "rgba(0, 0, 0, 0)";

  // Whether it is drawn, and there is more of it than the pixel of what only screen readers say.
  const isSeen = (element) =>
    element.checkVisibility({ visibilityProperty: true }) &&
    getComputedStyle(element).color !== CLEAR &&
    [...element.getClientRects()].some(
      ({ width, height, bottom }) => width > 1 && height > 1 && bottom + scrollY > 0,
    );

  // Wait for what a page loads by itself once it is there.
  const settle = async () => {
    while (document.querySelector(".htmx-request")) {
      await new Promise((done) => setTimeout(done, 10));
    }
  };

  window.examine = async (context, options) => {
    await settle();
    const results = await axe.run(context, { ...QUICK, resultTypes: ["violations"], ...options });
    const { passes, incomplete, violations } = results;
    return { examined: [...passes, ...incomplete, ...violations].map(({ id }) => id), violations };
  };

  const measure = async (include, look) => {
    const options = { ...QUICK, resultTypes: ["violations", "passes"], elementRef: true };
    const { passes, violations } = await axe.run(
      { include },
      { ...options, runOnly: ["color-contrast"] },
    );
    // What axe passes unseen may be seen elsewhere.
    const isMeasured = (node) => node.any.some((check) => check.data?.contrastRatio);
    const nodes = passes.flatMap((rule) => rule.nodes).filter(isMeasured);
    return { violations, readable: nodes.map((node) => look(node.element)) };
  };

  // Measure the texts whose look is not in `known`; return what is hard to read, or all looks that
  // are known then. One of a look stands for the others, where axe can tell of that one.
  window.examineContrast = async (known) => {
    const look = makeLook();
    const readable = new Set(known.split(" "));
    const texts = [...document.body.querySelectorAll("*")].filter(
      (element) => hasText(element) && isSeen(element),
    );
    const oneOfEach = [...new Map(texts.map((element) => [look(element), element])).values()];
    for (const some of [oneOfEach, texts]) {
      const include = some.filter((element) => !readable.has(look(element)));
      if (include.length > 0) {
        const found = await measure(include, look);
        if (found.violations.length > 0) return found;
        for (const each of found.readable) readable.add(each);
      }
    }
    return { violations: [], readable: [...readable].join(" ") };
  };
})();

// Shows the server's OpenAPI document with Swagger UI, in the colour scheme of the system.

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// Adds what the viewer lacks for keyboards and screen readers.
const REPAIRS = {
  select: (select) => select.ariaLabel || (select.ariaLabel = select.closest("label")?.textContent || nameOf(select)),
  pre: (pre) => (pre.tabIndex = 0), // so that the keyboard can scroll it
  ".opblock-summary-control a[href]": (link) => link.removeAttribute("href"), // a button must not contain a link
};

function nameOf(select) {
  if (select.closest(".response, .responses-inner")) return select.closest(".examples-select") ? "Example" : "Media type of the response";
  return select.closest(".body-param-content-type, .content-type-wrapper") ? "Media type of the body" : "Value";
}

const repair = () => {
  for (const [selector, mend] of Object.entries(REPAIRS)) document.querySelectorAll(selector).forEach(mend);
};
new MutationObserver(repair).observe(document.getElementById("reference"), { childList: true, subtree: true });

const description = new URL("openapi.json", document.baseURI);
description.username = description.password = ""; // fetch rejects addresses with these

globalThis.SwaggerUIBundle({
  url: description.href,
  dom_id: "#reference",
  deepLinking: true,
  validatorUrl: null, // a validator would get the document on another host
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  syntaxHighlight: { activated: false }, // its colours have too little contrast for small text
});

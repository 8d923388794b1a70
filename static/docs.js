// Shows the API description of this server; nothing is fetched from anywhere else.
const url = new URL("../openapi.json", import.meta.url).href;
globalThis.SwaggerUIBundle({ url, dom_id: "#api", validatorUrl: null, deepLinking: true });

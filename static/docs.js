// Shows the API description of this server; nothing is fetched from anywhere else.
globalThis.SwaggerUIBundle({ url: "/openapi.json", dom_id: "#api", validatorUrl: null, deepLinking: true });

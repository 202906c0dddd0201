// Lists the operations of openapi.json, and tries them. Whatever is shown is put in as text.

const JSON_TYPE = "application/json";

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeOf))].filter((each) => each !== "null").join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.join(", ");
  if (schema.type === "array") return "list of " + (typeOf(schema.items) || "values");
  return schema.format === "binary" ? "file" : schema.type || "any value";
}

function fieldOf(parameter) {
  const value = parameter.example ?? "";
  const input = make("input", {
    name: parameter.name,
    value: typeof value === "string" ? value : JSON.stringify(value),
    placeholder: parameter.schema.default === undefined ? "" : String(parameter.schema.default ?? ""),
    required: parameter.required === true,
    autocomplete: "off",
  });
  input.dataset.place = parameter.in;
  const said = [typeOf(parameter.schema), parameter.description].filter(Boolean).join(": ");
  const label = make("label", { className: "field" }, make("code", { textContent: parameter.name }), input);
  label.append(make("span", { className: "faint", textContent: said }));
  return label;
}

function fieldsOf(schema) {
  const required = new Set(schema?.required ?? []);
  const rows = Object.entries(schema?.properties ?? {}).map(([name, each]) =>
    make("tr", {}, make("td", { textContent: name + (required.has(name) ? " *" : "") }),
      make("td", { textContent: typeOf(each) }), make("td", { textContent: each.description ?? "" })));
  if (!rows.length) return [];
  return [make("details", {}, make("summary", { textContent: `${rows.length} fields` }),
    make("div", { className: "inside" }, make("table", {}, make("tbody", {}, ...rows))))];
}

function bodyOf(body) {
  const content = body?.content ?? {};
  const parts = { elements: [] };
  if (content[JSON_TYPE]) {
    const example = content[JSON_TYPE].example ?? {};
    parts.text = make("textarea", { value: JSON.stringify(example, null, 2), spellcheck: false, ariaLabel: "JSON body" });
    parts.elements.push(parts.text, ...fieldsOf(content[JSON_TYPE].schema));
  }
  const form = content["multipart/form-data"];
  if (form) {
    parts.fileName = Object.entries(form.schema.properties).find(([, each]) => each.format === "binary")?.[0] ?? "file";
    parts.file = make("input", { type: "file", accept: "image/*" });
    const fields = make("input", { placeholder: "camera_id=front_door&prompt=…", autocomplete: "off" });
    parts.fields = fields;
    parts.elements.push(
      make("label", { className: "field" }, make("span", { textContent: parts.text ? "or a picture" : "a picture" }), parts.file),
      make("label", { className: "field" }, make("span", { textContent: "its fields" }), fields));
  }
  if (body?.description) parts.elements.push(make("p", { className: "faint", textContent: body.description }));
  return parts;
}

function requestOf(method, path, form, body) {
  const query = new URLSearchParams();
  let target = path;
  for (const input of form.querySelectorAll("input[data-place]")) {
    if (input.dataset.place === "path") target = target.replace(`{${input.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "") query.append(input.name, input.value);
  }
  const options = { method: method.toUpperCase(), headers: { Accept: JSON_TYPE } };
  if (body.file?.files.length) {
    options.body = new FormData();
    options.body.append(body.fileName, body.file.files[0]);
    for (const [name, value] of new URLSearchParams(body.fields.value)) options.body.append(name, value);
  } else if (body.text && body.text.value.trim() && body.text.value.trim() !== "{}") {
    options.headers["Content-Type"] = JSON_TYPE;
    options.body = body.text.value;
  }
  const said = query.toString();
  return [target.slice(1) + (said ? "?" + said : ""), options];
}

function quoted(text) {
  return "'" + text.replaceAll("'", "'\\''") + "'";
}

function curlOf(target, options, body) {
  const words = ["curl", "-X", options.method, quoted(new URL(target, document.baseURI).href)];
  if (options.body instanceof FormData) {
    words.push("-F", quoted(`${body.fileName}=@${body.file.files[0].name}`));
    for (const [name, value] of new URLSearchParams(body.fields.value)) words.push("-F", quoted(`${name}=${value}`));
  } else if (options.body) {
    words.push("-H", quoted(`Content-Type: ${JSON_TYPE}`), "-d", quoted(options.body));
  }
  return words.join(" ");
}

function shownOf(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

async function send(method, path, form, body, outcome) {
  const [target, options] = requestOf(method, path, form, body);
  const button = form.querySelector("button");
  const curl = make("pre", { textContent: curlOf(target, options, body) });
  const line = make("p", { textContent: "Waiting…" });
  outcome.replaceChildren(curl, line);
  button.disabled = true;
  const began = performance.now();
  try {
    const answer = await fetch(target, options);
    const text = await answer.text();
    const took = Math.round(performance.now() - began);
    line.textContent = `${answer.status} ${answer.statusText}, ${took} ms`;
    line.className = answer.ok ? "" : "bad";
    outcome.append(make("pre", { textContent: shownOf(text).slice(0, 200000) }));
  } catch (error) {
    line.textContent = `No answer: ${error.message}`;
    line.className = "bad";
  } finally {
    button.disabled = false;
  }
}

function insideOf(method, path, operation) {
  const body = bodyOf(operation.requestBody);
  const outcome = make("div", { ariaLive: "polite" });
  const form = make("form", {}, ...(operation.parameters ?? []).map(fieldOf), ...body.elements,
    make("div", { className: "row" }, make("button", { textContent: "Send" })), outcome);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(method, path, form, body, outcome);
  });
  return make("div", { className: "inside" }, make("p", { textContent: operation.description ?? "" }), form);
}

function operationOf(method, path, operation) {
  const sentence = (operation.description ?? "").split(/[.;:](?:\s|$)/)[0];
  const summary = make("summary", {}, make("b", { textContent: method.toUpperCase() }),
    make("code", { textContent: path }), make("span", { className: "faint", textContent: sentence }));
  const details = make("details", { className: method }, summary);
  details.dataset.words = `${method} ${path} ${operation.summary} ${operation.description}`.toLowerCase();
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(insideOf(method, path, operation));
  });
  return details;
}

function show(document_) {
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "others";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(operationOf(method, path, operation));
    }
  }
  const sections = [...groups].map(([tag, operations]) =>
    make("section", {}, make("h2", { textContent: tag }), ...operations));
  const main = document.getElementById("operations");
  main.replaceChildren(...sections);
  main.removeAttribute("aria-busy");
  document.getElementById("version").textContent = document_.info.version;
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/);
  for (const section of document.querySelectorAll("main > section")) {
    for (const each of section.querySelectorAll(":scope > details")) {
      each.hidden = !words.every((word) => each.dataset.words.includes(word));
    }
    section.hidden = !section.querySelector(":scope > details:not([hidden])");
  }
}

document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
try {
  const answer = await fetch("openapi.json");
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  show(await answer.json());
} catch (error) {
  document.getElementById("operations").replaceChildren(
    make("p", { className: "bad", textContent: `openapi.json cannot be read: ${error.message}` }));
}

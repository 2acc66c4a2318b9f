// The scenarios of test_openai_node.py, each by its name. Prints one JSON object: what each came to.
import OpenAI, { toFile } from "openai";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: "unused", maxRetries: 0 });
const messages = [{ role: "user", content: "hi" }];
const chat = (model, more) => client.chat.completions.create({ model, messages, ...more });

async function said(stream) {
  let text = "";
  let finish = null;
  let tokens = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    finish = chunk.choices[0]?.finish_reason ?? finish;
    tokens = chunk.usage?.total_tokens ?? tokens;
  }
  return { text, finish, tokens };
}

async function failing(promise) {
  try {
    await promise;
  } catch (error) {
    if (error instanceof OpenAI.APIConnectionTimeoutError) return { kind: "timeout" };
    const { status, code, param, type, requestID: request_id } = error;
    return { kind: error.constructor.name, status, code, param, type, request_id };
  }
  return { kind: "no error" };
}

async function retried(model) {
  const began = performance.now();
  const failed = await chat(model, {}).then(() => false, () => true);
  return { failed, seconds: (performance.now() - began) / 1000 };
}

const scenarios = {
  async plain() {
    const whole = await chat("chat");
    const [choice] = whole.choices;
    return {
      text: choice.message.content,
      finish: choice.finish_reason,
      tokens: whole.usage.total_tokens,
      request_id: whole._request_id,
    };
  },
  stream: async () => said(await chat("chat", { stream: true })),
  "stream with usage": async () =>
    said(await chat("chat", { stream: true, stream_options: { include_usage: true } })),
  choices: async () => (await chat("chat", { n: 2 })).choices.map((choice) => choice.message.content),
  async tools() {
    const call = { id: "", name: "", arguments: "" };
    for await (const chunk of await chat("tools", { stream: true, tools: [] })) {
      const [choice] = chunk.choices;
      for (const piece of choice.delta.tool_calls ?? []) {
        call.id += piece.id ?? "";
        call.name += piece.function.name ?? "";
        call.arguments += piece.function.arguments ?? "";
      }
      call.finish = choice.finish_reason ?? call.finish;
    }
    return call;
  },
  text: async () => (await client.completions.create({ model: "text", prompt: "hi" })).choices[0].text,
  async "text, streamed"() {
    let text = "";
    for await (const chunk of await client.completions.create({ model: "text", prompt: "hi", stream: true })) {
      text += chunk.choices[0].text;
    }
    return text;
  },
  embeddings: async () => (await client.embeddings.create({ model: "embed", input: "hi" })).data[0].embedding,
  "embeddings as floats": async () =>
    (await client.embeddings.create({ model: "embed", input: "hi", encoding_format: "float" })).data[0].embedding,
  async responses() {
    const made = await client.responses.create({ model: "responses", input: "hi" });
    return { text: made.output_text, tokens: made.usage.total_tokens, request_id: made._request_id };
  },
  async "responses, streamed"() {
    const kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ model: "responses", input: "hi", stream: true })) {
      kinds.push(event.type);
      text += event.type === "response.output_text.delta" ? event.delta : "";
    }
    return { text, first: kinds[0], last: kinds.at(-1), count: kinds.length };
  },
  async models() {
    const names = [];
    for await (const model of client.models.list()) names.push(model.id);
    return ["chat", "embed", "responses"].every((name) => names.includes(name));
  },
  model: async () => (await client.models.retrieve("chat")).id,
  async files() {
    const content = Buffer.from(process.env.CONTENT, "base64");
    const file = await client.files.create({ file: await toFile(content, "a.bin"), purpose: "batch" });
    const listed = [];
    for await (const one of client.files.list({ limit: 2 })) listed.push(one.id);
    const got = Buffer.from(await (await client.files.content(file.id)).arrayBuffer());
    const { deleted } = await client.files.delete(file.id);
    return { id: file.id, listed, content: got.equals(content), deleted };
  },
  "too long": () => failing(chat("too-long")),
  "unknown model": () => failing(chat("nobody")),
  "unknown model, retrieved": () => failing(client.models.retrieve("nobody")),
  "wrong field": () => failing(chat("chat", { temperature: "hot" })),
  "unknown path": () => failing(client.get("/nope")),
  revoked: () => failing(chat("revoked")),
  "broken, streamed": () => failing(chat("broken", { stream: true })),
  "no JSON": () => failing(chat("no-json")),
  async cut() {
    let text = "";
    try {
      for await (const chunk of await chat("cut", { stream: true })) text += chunk.choices[0]?.delta.content ?? "";
    } catch {
      return { text, failed: true };
    }
    return { text, failed: false };
  },
  timeout: () => failing(client.chat.completions.create({ model: "hangs", messages }, { timeout: 300 })),
  async abort() {
    const stream = await chat("talks", { stream: true });
    for await (const chunk of stream) {
      const text = chunk.choices[0].delta.content;
      if (text) {
        stream.controller.abort();
        return text;
      }
    }
    return null;
  },
};

// Against a real model, whose words nobody knows beforehand.
const schema = {
  type: "object",
  properties: { city: { type: "string" }, inhabitants: { type: "integer" } },
  required: ["city", "inhabitants"],
  additionalProperties: false,
};
const question = [{ role: "user", content: "What is the capital of France? Answer in one word." }];
const real = {
  stream: async () =>
    said(
      await client.chat.completions.create({
        model: "real",
        messages: question,
        temperature: 0,
        max_tokens: 16,
        stream: true,
        stream_options: { include_usage: true },
      }),
    ),
  async schema() {
    const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema } };
    const whole = await client.chat.completions.create({
      model: "real",
      messages: [{ role: "user", content: "Tell me about Paris." }],
      temperature: 0,
      max_tokens: 64,
      response_format,
    });
    return JSON.parse(whole.choices[0].message.content);
  },
  async responses() {
    const input = question[0].content;
    const stream = await client.responses.create({
      model: "real",
      input,
      temperature: 0,
      max_output_tokens: 16,
      stream: true,
    });
    let text = "";
    let last = "";
    for await (const event of stream) {
      last = event.type;
      text += event.type === "response.output_text.delta" ? event.delta : "";
    }
    return { text, last };
  },
};

const results = {};
const record = async (name, scenario) => {
  results[name] = await scenario().catch((error) => `${error.constructor.name}: ${error.message}`);
};
if (process.env.ADVICE) {
  client.maxRetries = 1;
  await Promise.all(process.env.ADVICE.split(",").map((model) => record(model, () => retried(model))));
} else {
  await Promise.all(Object.entries(process.env.REAL ? real : scenarios).map(([name, scenario]) => record(name, scenario)));
}
console.log(JSON.stringify(results));

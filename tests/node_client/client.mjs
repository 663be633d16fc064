// OpenAI's own client for Node.js against a relay: node client.mjs BASE_URL API_KEY SCENARIO...
// Prints what the client saw, as a JSON list. The tests around it (tests/integration/api/test_node_sdk.py) judge.
import OpenAI from "openai";

const [baseURL, apiKey, ...asked] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: asked[0] === "retries" ? 2 : 0 });
const model = "relay/tiny-chat";
const messages = [{ role: "user", content: "Hello!" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } } }];

async function parts(stream) {
  const seen = [];
  for await (const part of stream) seen.push(part);
  return seen;
}

function failure(error) {
  return { kind: error.constructor.name, status: error.status, code: error.code, type: error.type, message: error.message,
    request_id: error.requestID, retry_after: error.headers?.get("retry-after") ?? null };
}

async function failing(call) {
  try {
    await call();
    return null;
  } catch (error) {
    return failure(error);
  }
}

const scenarios = {
  completion: () => client.chat.completions.create({ model, messages, temperature: 0.5, seed: 7 }),
  modes: () => client.chat.completions.create({ model, messages, mode: "opengpu", async: true }),
  stream: async () => parts(await client.chat.completions.create({ model, messages, stream: true, stream_options: { include_usage: true } })),
  tools: () => client.chat.completions.create({ model, messages, tools, tool_choice: "required", parallel_tool_calls: false }),
  streamed_tools: async () => (await client.chat.completions.stream({ model, messages, tools, tool_choice: "required" }).finalChatCompletion()),
  logprobs: () => client.chat.completions.create({ model, messages, logprobs: true, top_logprobs: 2 }),
  choices: () => client.chat.completions.create({ model, messages, n: 3 }),
  format: () => client.chat.completions.parse({ model, messages, response_format: { type: "json_schema", json_schema: { name: "answer", strict: true, schema: { type: "object", properties: { answer: { type: "string" } }, required: ["answer"], additionalProperties: false } } } }),
  text: () => client.completions.create({ model, prompt: "Once upon a", max_tokens: 8, n: 2, logprobs: 1 }),
  text_stream: async () => parts(await client.completions.create({ model, prompt: "Once upon a", stream: true })),
  embeddings: async () => ({
    standard: (await client.embeddings.create({ model, input: ["a", "b"] })).data,
    numbers: (await client.embeddings.create({ model, input: "a", encoding_format: "float", dimensions: 2 })).data,
  }),
  models: async () => ({
    ids: (await parts(await client.models.list())).map((each) => each.id),
    one: await client.models.retrieve(model),
    none: await failing(() => client.models.retrieve("nobody/has-this")),
  }),
  harmless: () => client.chat.completions.create({ model, messages, user: "me", metadata: { a: "b" }, store: false,
    service_tier: "auto", modalities: ["text"], verbosity: "medium", safety_identifier: "s", prompt_cache_key: "k",
    prediction: { type: "content", content: "Hello." } }),
  failed: () => failing(() => client.chat.completions.create({ model, messages })),
  failed_stream: () => failing(async () => parts(await client.chat.completions.create({ model, messages, stream: true }))),
  invalid: () => failing(() => client.chat.completions.create({ model, messages, temperature: 9 })),
  bad_key: () => failing(() => new OpenAI({ baseURL, apiKey: "relay_sk_bad", maxRetries: 0 }).chat.completions.create({ model, messages })),
  retries: () => client.chat.completions.create({ model, messages }),
  abort: async () => {
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const part of stream) {
      stream.controller.abort();
      return part;
    }
  },
};

const said = [];
for (const scenario of asked) said.push((await scenarios[scenario]()) ?? null);
process.stdout.write(JSON.stringify(said) + "\n");

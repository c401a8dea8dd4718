// Calls the official JavaScript SDKs as anybody would, all at once; prints what each raised as a JSON list.
// Argument: a JSON list of [SDK (openai, openai.responses, anthropic), base URL, team].
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const messages = [{ role: "user", content: "hi" }];
const openai = (url, defaultHeaders) => new OpenAI({ apiKey: "k", baseURL: `${url}/v1`, defaultHeaders });
const calls = {
  openai: (url, headers) => openai(url, headers).chat.completions.create({ model: "gpt-4o", messages }),
  "openai.responses": (url, headers) => openai(url, headers).responses.create({ model: "gpt-4o", input: "hi" }),
  anthropic: (url, defaultHeaders) =>
    new Anthropic({ apiKey: "k", baseURL: url, defaultHeaders }).messages.create({
      model: "claude-sonnet-4-5",
      max_tokens: 5,
      messages,
    }),
};
const raised = await Promise.all(
  JSON.parse(process.argv[2]).map(async ([sdk, url, team]) => {
    try {
      await calls[sdk](url, { "x-llm-team": team });
      return { name: "nothing", status: 200, text: "" };
    } catch (error) {
      return { name: error.constructor.name, status: error.status, text: String(error.message) };
    }
  }),
);
console.log(JSON.stringify(raised));

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { api, signInNeeded } from "../src/api";

const refused = () => Response.json({ error: "unauthorized", message: "the token is missing" }, { status: 401 });

describe("signing in", () => {
  const answers: ((answer: Response) => void)[] = [];

  beforeEach(() => {
    signInNeeded.value = false;
    vi.stubGlobal("fetch", () => new Promise<Response>((resolve) => answers.push(resolve)));
  });

  afterEach(() => {
    answers.length = 0;
    vi.unstubAllGlobals();
  });

  it("is asked for when the token is missing", async () => {
    const asked = api.health();
    answers[0]!(refused());
    await expect(asked).rejects.toThrow("the token is missing");
    expect(signInNeeded.value).toBe(true);
  });

  it("is not asked for again by a question from before it, which is asked once more", async () => {
    const asked = api.health();
    const signingIn = api.signIn("secret");
    answers[1]!(new Response(null, { status: 204 }));
    await signingIn;
    answers[0]!(refused());
    await vi.waitFor(() => expect(answers).toHaveLength(3));
    answers[2]!(Response.json({ version: "1" }));
    await expect(asked).resolves.toEqual({ version: "1" });
    expect(signInNeeded.value).toBe(false);
  });
});

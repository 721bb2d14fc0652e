// Streams for a client that @hey-api/openapi-ts generates from the OpenAPI file.

type Hooks = {
  fetch: typeof fetch;
  onSseError: (error: unknown) => void;
  onSseEvent: (event: unknown) => void;
  sseMaxRetryAttempts: number;
};

/** The events of a generated call that streams. Throws the API's error body, or what the network throws. */
export async function* events<E>(
  call: (hooks: Hooks) => Promise<{ stream: AsyncGenerator<E> }>,
): AsyncGenerator<Exclude<E, void>, void> {
  let event: unknown;
  let failure: unknown;
  const { stream } = await call({
    sseMaxRetryAttempts: 1, // a lost stream is resumed with messageStream and the id of its last event
    fetch: async (request, options) => {
      const response = await fetch(request, options);
      if (!response.ok) throw await response.json();
      return response;
    },
    onSseError: (error) => void (failure = error),
    onSseEvent: (each) => void (event = each),
  });
  for await (const _ of stream) yield event as Exclude<E, void>;
  if (failure !== undefined) throw failure;
}

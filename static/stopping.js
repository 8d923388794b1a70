/**
 * The wish to stop, brought to the service however often it gets lost on the way. Knows the service alone.
 */

const TRIES = 3;
const STEP_MS = 300;

/** The service's answer about `run`. Rejects with `Problem` when it does not get through or `isWanted()` no longer. */
export async function askToStop(api, chatId, run, isWanted) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await api.stop(chatId, run.id, run.seen);
    } catch (problem) {
      if (tries === TRIES || !isWanted() || !problem.isLost) throw problem;
      await new Promise((resolve) => setTimeout(resolve, STEP_MS * tries));
    }
  }
}

/**
 * A wish brought to the service however often it gets lost on the way. Knows requests alone.
 */

const TRIES = 3;
const STEP_MS = 300;

/** What `ask()` is answered. Rejects with `Problem` when it does not get through or `isWanted()` no longer. */
export async function insist(ask, isWanted = () => true) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await ask();
    } catch (problem) {
      if (tries === TRIES || !isWanted() || !problem.isLost) throw problem;
      await new Promise((resolve) => setTimeout(resolve, STEP_MS * tries));
    }
  }
}

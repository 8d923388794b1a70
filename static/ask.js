/**
 * What a message takes along to the service: its files, who answers, and the wishes of a chat that begins with it.
 */

/** The body of a request for a reply; `files` as the service names them, `about` what is known of the chat. */
export function bodyOf(message, agent, files, about) {
  const ids = files.map(({ file_id: id }) => id);
  return { message, agent, ...wishesOf(about), ...(ids.length > 0 && { files: ids }) };
}

/** What the service does not have yet of a chat that has not begun: {instructions?, temperature?}. */
export const wishesOf = ({ instructions, temperature, isKept }) => ({
  ...(instructions && !isKept && { instructions }),
  ...(temperature != null && !isKept && { temperature }),
});

// Foreign text (keys, errors, bodies) made harmless for a terminal.

// C0 and C1 controls move the cursor and speak to the terminal; separators, direction marks and invisible characters
// make a line look like another one; a lone surrogate is no text.
const dangerous =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udfff]/gu

/** Each dangerous character as `\u001b`; in JSON text the result is the same JSON. */
export function printable(text: string): string {
  return text.replace(dangerous, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

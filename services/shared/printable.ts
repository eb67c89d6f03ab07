// Foreign text (keys, errors, bodies) made harmless for a terminal.

// C0 and C1 controls move the cursor and speak to the terminal; separators, direction marks and what leaves no ink (Hangul fillers,
// the empty Braille pattern, variation selectors, tags) make a line look like another one; a lone surrogate is no text.
const dangerous = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u2800]/gu

/** Each dangerous character as `\u001b`; in JSON text the result is the same JSON. */
export function printable(text: string): string {
  return text.replace(dangerous, (char) => char.split('').map(escaped).join(''))
}

const escaped = (unit: string) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`

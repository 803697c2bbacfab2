/** UTF-8, by hand: core and its plugins are compiled without the host's TextEncoder. For names, not for bulk. */

/** Bytes of `text`; a lone surrogate becomes U+FFFD. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0) as number;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
  }
  return Uint8Array.from(bytes);
}

/** Text of `bytes`, or null if they are not UTF-8 or hold a NUL. */
export function decodeUtf8(bytes: Uint8Array, from: number, to: number): string | null {
  let escaped = '';
  for (let i = from; i < to; i++) {
    if (bytes[i] === 0) return null;
    escaped += `%${bytes[i].toString(16).padStart(2, '0')}`;
  }
  try {
    return decodeURIComponent(escaped);
  } catch {
    return null; // the one way decodeURIComponent fails here is malformed UTF-8
  }
}

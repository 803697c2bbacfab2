/**
 * What goes to stdout. Names are bytes: those that are no UTF-8 (a lone surrogate each) leave as they are, and control characters are
 * shown as `\x1b`, so that no name drives a terminal or breaks a line.
 */
import { encodeName } from '@tidemark/core';

/** A text without control characters. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

/** Prints a line of printable text. */
export function printLine(line: string): void {
  process.stdout.write(encodeName(`${line}\n`));
}

/** Prints an object as one line of JSON. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** Writes bytes, and waits until the reader has taken them or is gone. */
export function writeOut(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => void process.stdout.write(bytes, () => resolve()));
}

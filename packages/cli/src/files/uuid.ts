/** UUIDs as text: 32 hexadecimal digits, with or without dashes. */
import { UsageError } from '../outcome.js';

/** Takes a UUID. @throws UsageError. */
export function uuidOption(option: string): (word: string) => Uint8Array {
  return (word) => {
    const isUuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$|^[0-9a-f]{32}$/i.test(word);
    if (!isUuid) throw new UsageError(`${option} ${JSON.stringify(word)} is no uuid: want 32 hexadecimal digits, 8-4-4-4-12`);
    return new Uint8Array(Buffer.from(word.replaceAll('-', ''), 'hex'));
  };
}

/** The text of 16 bytes. */
export function formatUuid(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
}

/**
 * The swap header, Linux's version 1, in page 0 of an area (M9). Native byte order of the machine that wrote it; both are read.
 *
 *     0      1024   boot bits, left alone
 *     1024   u32    version = 1
 *     1028   u32    last_page: index of the last page; pages − 1
 *     1032   u32    nr_badpages, at most 637
 *     1036   16     uuid
 *     1052   16     label, NUL padded
 *     1068   468    zero
 *     1536   u32 × nr_badpages: bad pages, each 1 … last_page
 *     4086   10     "SWAPSPACE2"
 *
 * Reading is from an untrusted device: every field is checked, and what is wrong is named with its offset.
 */
import { KernelError, PAGE_SIZE } from '@tidemark/core';

const VERSION_OFFSET = 1024;
const LAST_PAGE_OFFSET = 1028;
const NR_BAD_OFFSET = 1032;
const UUID_OFFSET = 1036;
const LABEL_OFFSET = 1052;
const BAD_PAGES_OFFSET = 1536;
const MAGIC_OFFSET = PAGE_SIZE - 10;
const LABEL_BYTES = 16;
const MAGIC = 'SWAPSPACE2';
/** Most bad pages a header can list. */
export const MAX_BAD_PAGES = Math.floor((MAGIC_OFFSET - BAD_PAGES_OFFSET) / 4);
/** Fewest pages of an area, its header included. */
export const MIN_SWAP_PAGES = 10;

/** Signatures of other uses of the same ten bytes, which must not be overwritten without being asked to. */
const SUSPEND_SIGNATURES = ['S1SUSPEND\0', 'S2SUSPEND\0', 'ULSUSPEND\0', 'LINHIB0001'];

/** A checked header. */
export interface SwapHeader {
  /** Index of the last page. */
  readonly lastPage: number;
  /** Lower-case, with dashes; all zero if there is none. */
  readonly uuid: string;
  readonly label: string;
  readonly badPages: readonly number[];
  /** True if it was written on a machine of the other byte order. */
  readonly isSwapped: boolean;
}

/** What a new header says. */
export interface SwapHeaderFields {
  readonly lastPage: number;
  readonly uuid: Uint8Array;
  readonly label?: string;
  readonly badPages?: readonly number[];
}

/**
 * Writes a header into a page; bytes 0 … 1023 are left as they are.
 * @throws KernelError EINVAL, and nothing is written, for a last page that is none, a label over 15 bytes or with a NUL, a uuid that is
 * not 16 bytes, bad pages out of range, listed twice, or leaving no good one.
 */
export function encodeSwapHeader(page: Uint8Array, fields: SwapHeaderFields): void {
  const label = utf8(fields.label ?? '');
  const bad = fields.badPages ?? [];
  if (label.length >= LABEL_BYTES || label.includes(0))
    throw new KernelError('EINVAL', `swap label ${JSON.stringify(fields.label)} is over 15 bytes or has a NUL`);
  if (fields.uuid.length !== 16) throw new KernelError('EINVAL', `a uuid has 16 bytes, not ${fields.uuid.length}`);
  if (!Number.isInteger(fields.lastPage) || fields.lastPage < 1 || fields.lastPage > 0xffff_ffff)
    throw new KernelError('EINVAL', `a swap area cannot end with page ${fields.lastPage}`);
  if (bad.some((n) => !Number.isInteger(n) || n < 1 || n > fields.lastPage) || new Set(bad).size < bad.length)
    throw new KernelError('EINVAL', `bad pages are each one of 1 to ${fields.lastPage}, listed once`);
  if (bad.length > MAX_BAD_PAGES || bad.length >= fields.lastPage)
    throw new KernelError('EINVAL', `${bad.length} bad pages are too many: at most ${MAX_BAD_PAGES} fit, and one page must be good`);
  page.fill(0, VERSION_OFFSET, PAGE_SIZE);
  const view = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
  view.setUint32(VERSION_OFFSET, 1, true);
  view.setUint32(LAST_PAGE_OFFSET, fields.lastPage, true);
  view.setUint32(NR_BAD_OFFSET, bad.length, true);
  page.set(fields.uuid, UUID_OFFSET);
  page.set(label, LABEL_OFFSET);
  for (const [i, pageIndex] of bad.entries()) view.setUint32(BAD_PAGES_OFFSET + 4 * i, pageIndex, true);
  page.set(utf8(MAGIC), MAGIC_OFFSET);
}

/**
 * Reads and checks a header.
 * @param sizePages whole pages of the device or file.
 * @throws KernelError EINVAL naming the device, the field and its offset.
 */
export function parseSwapHeader(page: Uint8Array, sizePages: number, name: string): SwapHeader {
  const refuse = (what: string, offset: number): KernelError =>
    new KernelError('EINVAL', `${name} is no swap area: ${what} (offset ${offset})`, { details: { device: name, offsetBytes: offset } });
  const magic = ascii(page, MAGIC_OFFSET, MAGIC.length);
  if (magic === 'SWAP-SPACE') throw refuse('its header is the obsolete version 0', MAGIC_OFFSET);
  if (magic !== MAGIC) throw refuse(`no ${MAGIC} signature`, MAGIC_OFFSET);
  const view = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
  const isSwapped = view.getUint32(VERSION_OFFSET, true) !== 1 && view.getUint32(VERSION_OFFSET, false) === 1;
  const u32 = (offset: number): number => view.getUint32(offset, !isSwapped);
  if (u32(VERSION_OFFSET) !== 1) throw refuse(`version ${u32(VERSION_OFFSET)}, want 1`, VERSION_OFFSET);
  const lastPage = u32(LAST_PAGE_OFFSET);
  if (lastPage === 0) throw refuse('its last page is 0', LAST_PAGE_OFFSET);
  if (lastPage >= sizePages) throw refuse(`its last page is ${lastPage} and the device has ${sizePages} pages`, LAST_PAGE_OFFSET);
  const nrBad = u32(NR_BAD_OFFSET);
  if (nrBad > MAX_BAD_PAGES) throw refuse(`${nrBad} bad pages, at most ${MAX_BAD_PAGES} fit`, NR_BAD_OFFSET);
  const badPages: number[] = [];
  for (let i = 0; i < nrBad; i++) {
    const offset = BAD_PAGES_OFFSET + 4 * i;
    const bad = u32(offset);
    if (bad < 1 || bad > lastPage) throw refuse(`bad page ${bad} is not one of 1 to ${lastPage}`, offset);
    if (badPages.includes(bad)) throw refuse(`bad page ${bad} is listed twice`, offset);
    badPages.push(bad);
  }
  if (nrBad >= lastPage) throw refuse('every page is bad', NR_BAD_OFFSET);
  return { lastPage, uuid: formatUuid(page.subarray(UUID_OFFSET, UUID_OFFSET + 16)), label: readLabel(page), badPages, isSwapped };
}

/** The signature of something that must not be overwritten by accident, or null. */
export function suspendSignature(page: Uint8Array): string | null {
  const found = ascii(page, MAGIC_OFFSET, MAGIC.length);
  return SUSPEND_SIGNATURES.includes(found) ? found.replace('\0', '') : null;
}

/** `01234567-89ab-cdef-0123-456789abcdef`. */
export function formatUuid(bytes: Uint8Array): string {
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

/** The 16 bytes of a uuid. @throws KernelError EINVAL if it is none. */
export function parseUuid(text: string): Uint8Array {
  const hex = text.replaceAll('-', '');
  if (!/^[0-9a-f]{32}$/i.test(hex)) throw new KernelError('EINVAL', `${JSON.stringify(text)} is no uuid`);
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** A random uuid, version 4 (RFC 9562 section 5.4), made of 16 random bytes. */
export function randomUuid(random: { fill(target: Uint8Array): void }): Uint8Array {
  const bytes = new Uint8Array(16);
  random.fill(bytes);
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  return bytes;
}

/** The label as text; what would not show, or is no UTF-8, is a question mark: it goes to people's terminals. */
function readLabel(page: Uint8Array): string {
  let escaped = '';
  for (let i = 0; i < LABEL_BYTES && page[LABEL_OFFSET + i] !== 0; i++)
    escaped += `%${page[LABEL_OFFSET + i].toString(16).padStart(2, '0')}`;
  try {
    return decodeURIComponent(escaped).replace(/\p{C}/gu, '?');
  } catch {
    return escaped.replace(/%(..)/g, (_all, hex: string) => {
      const byte = Number.parseInt(hex, 16);
      return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?';
    });
  }
}

function ascii(bytes: Uint8Array, from: number, length: number): string {
  return String.fromCharCode(...bytes.subarray(from, from + length));
}

/** UTF-8 without a host's TextEncoder. @throws KernelError EINVAL for half a surrogate pair. */
function utf8(text: string): Uint8Array {
  let escaped: string;
  try {
    escaped = encodeURIComponent(text);
  } catch (cause) {
    throw new KernelError('EINVAL', `${JSON.stringify(text)} is no text`, { cause });
  }
  const bytes: number[] = [];
  for (let i = 0; i < escaped.length; i++) {
    if (escaped[i] === '%') {
      bytes.push(Number.parseInt(escaped.slice(i + 1, i + 3), 16));
      i += 2;
    } else bytes.push(escaped.charCodeAt(i));
  }
  return Uint8Array.from(bytes);
}

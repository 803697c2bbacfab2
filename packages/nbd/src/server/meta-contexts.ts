/** LIST_META_CONTEXT and SET_META_CONTEXT: an export's name, then queries, each of them text. */
import { decodeUtf8 } from '@tidemark/core';
import { ALLOCATION_CONTEXT, OptionReply, STRING_MAX_BYTES } from '../protocol/constants.js';

/** What a client asks. */
export interface MetaQuery {
  readonly exportName: string;
  readonly queries: readonly string[];
}

/** Reads the data of either option, `bytes[at, end)`. @returns what is asked, or the error to answer with. */
export function readMetaQuery(bytes: Uint8Array, view: DataView, at: number, end: number): MetaQuery | number {
  const name = textAt(bytes, view, at, end);
  if (typeof name === 'number') return name;
  let next = name.end;
  if (end - next < 4) return OptionReply.ERR_INVALID;
  const nrQueries = view.getUint32(next);
  next += 4;
  if (nrQueries > (end - next) / 4) return OptionReply.ERR_INVALID;
  const queries: string[] = [];
  for (let i = 0; i < nrQueries; i++) {
    const query = textAt(bytes, view, next, end);
    if (typeof query === 'number') return query;
    queries.push(query.text);
    next = query.end;
  }
  return next === end ? { exportName: name.text, queries } : OptionReply.ERR_INVALID;
}

/** A length and as much text. */
function textAt(bytes: Uint8Array, view: DataView, at: number, end: number): { text: string; end: number } | number {
  if (end - at < 4) return OptionReply.ERR_INVALID;
  const length = view.getUint32(at);
  if (length > end - at - 4) return OptionReply.ERR_INVALID;
  if (length > STRING_MAX_BYTES) return OptionReply.ERR_TOO_BIG;
  const text = decodeUtf8(bytes, at + 4, at + 4 + length);
  return text === null ? OptionReply.ERR_INVALID : { text, end: at + 4 + length };
}

/** Whether the one context there is is among those asked for. @param lists a list is asked for: of all, or of a namespace. */
export function asksAllocation({ queries }: MetaQuery, lists: boolean): boolean {
  if (lists && queries.length === 0) return true;
  return queries.some((query) => query === ALLOCATION_CONTEXT || (lists && query === 'base:'));
}

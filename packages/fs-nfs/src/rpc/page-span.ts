/** Bytes of pages as a message carries them: they are sent by reference, and received straight into their frames. */
import { type Arena, PAGE_SIZE } from '@tidemark/core';
import type { ReceiveSlot, Socket } from '@tidemark/net';

/** `lengthBytes` from byte `skipBytes` on of consecutive pages in the frames `pfns[from]` onwards. */
export interface PageSpan {
  readonly pfns: Uint32Array;
  readonly from: number;
  readonly skipBytes: number;
  readonly lengthBytes: number;
}

/** Sends a span, frames that follow each other in one piece. @param onSent called when the host has taken the last one. */
export function sendSpan(
  arena: Arena,
  socket: Socket,
  { pfns, from, skipBytes, lengthBytes }: PageSpan,
  onSent: (() => void) | null,
): void {
  let done = 0;
  while (done < lengthBytes) {
    const at = skipBytes + done;
    const page = from + Math.floor(at / PAGE_SIZE);
    const inPage = at % PAGE_SIZE;
    let length = Math.min(PAGE_SIZE - inPage, lengthBytes - done);
    const address = pfns[page] * PAGE_SIZE + inPage;
    for (let next = page + 1; done + length < lengthBytes && pfns[next] === pfns[next - 1] + 1; next++) {
      if (arena.chunkOf(pfns[next] * PAGE_SIZE) !== arena.chunkOf(address)) break;
      length += Math.min(PAGE_SIZE, lengthBytes - done - length);
    }
    done += length;
    socket.send(arena.view(address, length), done === lengthBytes ? onSent : null);
  }
}

/** Copies `lengthBytes` from the front of a slot to byte `atBytes` of a span. The caller consumes them. */
export function fillSpan(arena: Arena, slot: ReceiveSlot, { pfns, from, skipBytes }: PageSpan, atBytes: number, lengthBytes: number): void {
  for (let done = 0; done < lengthBytes; ) {
    const at = skipBytes + atBytes + done;
    const inPage = at % PAGE_SIZE;
    const length = Math.min(PAGE_SIZE - inPage, lengthBytes - done);
    const address = pfns[from + Math.floor(at / PAGE_SIZE)] * PAGE_SIZE + inPage;
    const source = slot.address + slot.start + done;
    const chunk = arena.chunkOf(address);
    const to = arena.offsetInChunk(address);
    if (arena.chunkOf(source) === chunk) {
      const sourceAt = arena.offsetInChunk(source);
      chunk.copyWithin(to, sourceAt, sourceAt + length);
    } else chunk.set(slot.bytes.subarray(slot.start + done, slot.start + done + length), to);
    done += length;
  }
}

/** Zeroes what of `count` frames lies behind byte `fromBytes`. */
export function zeroTail(arena: Arena, pfns: Uint32Array, from: number, count: number, fromBytes: number): void {
  for (let at = fromBytes; at < count * PAGE_SIZE; ) {
    const inPage = at % PAGE_SIZE;
    arena.view(pfns[from + Math.floor(at / PAGE_SIZE)] * PAGE_SIZE + inPage, PAGE_SIZE - inPage).fill(0);
    at += PAGE_SIZE - inPage;
  }
}

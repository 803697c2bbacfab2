/**
 * The client's side of the handshake (fixed newstyle): GO with a request for block sizes; EXPORT_NAME if the server does not know GO.
 *
 * The server is not trusted: replies are bounded in length and number, the echo must match, sizes and block sizes must be possible.
 */
import { decodeUtf8, encodeUtf8, formatSize, KernelError, PAGE_SIZE } from '@tidemark/core';
import type { Socket } from '@tidemark/net';
import {
  DEFAULT_MAX_PAYLOAD_BYTES,
  EXPORT_NAME_ZEROES,
  GREETING_BYTES,
  GREETING_MAGIC,
  HandshakeFlag,
  Info,
  OLDSTYLE_MAGIC,
  Option,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC,
  OptionReply,
  TransmissionFlag,
} from '../protocol/constants.js';
import { getU64, hasMagic, putOption } from '../protocol/messages.js';
import type { HandshakeStream } from './handshake-stream.js';

/** INFO replies to one option; a server with more is cut off. */
const INFO_REPLIES_MAX = 32;
/** Bytes of a server's error text that are shown. */
const ERROR_TEXT_MAX_BYTES = 256;

/** What the server says about the export. */
export interface ExportInfo {
  readonly sizeBytes: number;
  /** Transmission flags. */
  readonly flags: number;
  /** Smallest unit in bytes: a power of two. */
  readonly minBlockBytes: number;
  readonly maxPayloadBytes: number;
}

/** What the caller knows. */
export interface HandshakeOptions {
  /** For messages. */
  readonly uri: string;
  readonly exportName: string;
}

/**
 * Brings a fresh connection to transmission.
 * @throws KernelError EPROTO (not NBD, or broken), EPROTONOSUPPORT (oldstyle, TLS only), ENOENT (no such export), EACCES (policy),
 * ESHUTDOWN, EINVAL (an impossible export), ECONNRESET.
 */
export async function negotiate(stream: HandshakeStream, socket: Socket, options: HandshakeOptions): Promise<ExportInfo> {
  const { uri } = options;
  const { slot } = stream;
  await stream.need(GREETING_BYTES);
  if (!hasMagic(slot.view, slot.start, GREETING_MAGIC)) throw new KernelError('EPROTO', `${uri}: the peer is no NBD server`);
  if (hasMagic(slot.view, slot.start + 8, OLDSTYLE_MAGIC))
    throw new KernelError('EPROTONOSUPPORT', `${uri}: the server speaks only the oldstyle handshake`);
  if (!hasMagic(slot.view, slot.start + 8, OPTION_MAGIC)) throw new KernelError('EPROTO', `${uri}: the server's greeting is broken`);
  const offered = slot.view.getUint16(slot.start + 16);
  slot.consume(GREETING_BYTES);
  const flags = offered & (HandshakeFlag.FIXED_NEWSTYLE | HandshakeFlag.NO_ZEROES);
  const clientFlags = new Uint8Array(4);
  clientFlags[3] = flags;
  socket.send(clientFlags, null);
  const name = encodeUtf8(options.exportName);
  let info: ExportInfo | null = null;
  if ((flags & HandshakeFlag.FIXED_NEWSTYLE) !== 0) {
    sendOption(socket, Option.GO, goData(name));
    info = await receiveGo(stream, uri);
  }
  if (info === null) {
    sendOption(socket, Option.EXPORT_NAME, name);
    info = await receiveExportName(stream, uri, (flags & HandshakeFlag.NO_ZEROES) !== 0);
  }
  return checked(info, uri);
}

function goData(name: Uint8Array): Uint8Array {
  const data = new Uint8Array(4 + name.length + 4);
  const view = new DataView(data.buffer);
  view.setUint32(0, name.length);
  data.set(name, 4);
  view.setUint16(4 + name.length, 1);
  view.setUint16(6 + name.length, Info.BLOCK_SIZE);
  return data;
}

function sendOption(socket: Socket, option: number, data: Uint8Array): void {
  const bytes = new Uint8Array(OPTION_HEADER_BYTES + data.length);
  putOption(new DataView(bytes.buffer), bytes, 0, option, data);
  socket.send(bytes, null);
}

/** @returns null if the server does not know GO. */
async function receiveGo(stream: HandshakeStream, uri: string): Promise<ExportInfo | null> {
  const { slot } = stream;
  let sizeBytes = -1;
  let flags = 0;
  let minBlockBytes = 512;
  let maxPayloadBytes = DEFAULT_MAX_PAYLOAD_BYTES;
  for (let nrReplies = 0; nrReplies < INFO_REPLIES_MAX; nrReplies++) {
    await stream.need(OPTION_REPLY_HEADER_BYTES);
    if (!hasMagic(slot.view, slot.start, OPTION_REPLY_MAGIC)) throw new KernelError('EPROTO', `${uri}: an option reply is broken`);
    const option = slot.view.getUint32(slot.start + 8);
    const type = slot.view.getUint32(slot.start + 12);
    const length = slot.view.getUint32(slot.start + 16);
    if (option !== Option.GO) throw new KernelError('EPROTO', `${uri}: the reply is to option ${option}, which was not sent`);
    slot.consume(OPTION_REPLY_HEADER_BYTES);
    await stream.need(length);
    const { view, start: at } = slot;
    if (type === OptionReply.ERR_UNSUP) {
      slot.consume(length);
      return null;
    }
    if (type >= 0x80000000) throw refusal(type, uri, text(stream, length));
    if (type === OptionReply.ACK) {
      slot.consume(length);
      if (sizeBytes < 0) throw new KernelError('EPROTO', `${uri}: the server did not tell the size of the export`);
      return { sizeBytes, flags, minBlockBytes, maxPayloadBytes };
    }
    if (type !== OptionReply.INFO || length < 2)
      throw new KernelError('EPROTO', `${uri}: an option reply of type ${type} and ${length} bytes makes no sense`);
    const what = view.getUint16(at);
    if (what === Info.EXPORT) {
      if (length !== 12) throw new KernelError('EPROTO', `${uri}: export information of ${length} bytes`);
      sizeBytes = getU64(view, at + 2);
      flags = view.getUint16(at + 10);
    } else if (what === Info.BLOCK_SIZE) {
      if (length !== 14) throw new KernelError('EPROTO', `${uri}: block sizes of ${length} bytes`);
      minBlockBytes = view.getUint32(at + 2);
      maxPayloadBytes = view.getUint32(at + 10);
    }
    slot.consume(length);
  }
  throw new KernelError('EPROTO', `${uri}: more than ${INFO_REPLIES_MAX} replies to one option`);
}

async function receiveExportName(stream: HandshakeStream, uri: string, noZeroes: boolean): Promise<ExportInfo> {
  const { slot } = stream;
  const length = 10 + (noZeroes ? 0 : EXPORT_NAME_ZEROES);
  try {
    await stream.need(length);
  } catch (error) {
    throw new KernelError('ENOENT', `${uri}: the server closed the connection when asked for the export`, { cause: error });
  }
  const sizeBytes = getU64(slot.view, slot.start);
  const flags = slot.view.getUint16(slot.start + 8);
  slot.consume(length);
  return { sizeBytes, flags, minBlockBytes: 512, maxPayloadBytes: DEFAULT_MAX_PAYLOAD_BYTES };
}

function checked(info: ExportInfo, uri: string): ExportInfo {
  const { sizeBytes, flags, minBlockBytes, maxPayloadBytes } = info;
  if (!Number.isSafeInteger(sizeBytes)) throw new KernelError('EINVAL', `${uri}: the export claims an impossible size`);
  if ((flags & TransmissionFlag.HAS_FLAGS) === 0) throw new KernelError('EPROTO', `${uri}: the export's flags are not valid`);
  if (minBlockBytes < 1 || minBlockBytes > 65536 || (minBlockBytes & (minBlockBytes - 1)) !== 0) {
    throw new KernelError('EPROTO', `${uri}: the server's smallest block is ${minBlockBytes} bytes, which is no power of two up to 64 KiB`);
  }
  if (minBlockBytes > PAGE_SIZE)
    throw new KernelError('EINVAL', `${uri}: the server wants blocks of ${formatSize(minBlockBytes)}, the most here is a page`);
  if (maxPayloadBytes < PAGE_SIZE)
    throw new KernelError('EINVAL', `${uri}: the server takes at most ${maxPayloadBytes} bytes a request, less than a page`);
  return info;
}

/** An error text of the server, shortened and made printable: it is not trusted. */
function text(stream: HandshakeStream, lengthBytes: number): string {
  const { slot } = stream;
  return (decodeUtf8(slot.bytes, slot.start, slot.start + Math.min(lengthBytes, ERROR_TEXT_MAX_BYTES)) ?? '').replace(/[^\x20-\x7e]/g, '?');
}

function refusal(type: number, uri: string, said: string): KernelError {
  const because = said === '' ? '' : ` (the server says: ${said})`;
  switch (type) {
    case OptionReply.ERR_UNKNOWN:
      return new KernelError('ENOENT', `${uri}: the server has no such export${because}`);
    case OptionReply.ERR_POLICY:
      return new KernelError('EACCES', `${uri}: the server refuses the export${because}`);
    case OptionReply.ERR_TLS_REQD:
      return new KernelError('EPROTONOSUPPORT', `${uri}: the server wants TLS, which is not supported${because}`);
    case OptionReply.ERR_SHUTDOWN:
      return new KernelError('ESHUTDOWN', `${uri}: the server is shutting down${because}`);
    default:
      return new KernelError('EPROTO', `${uri}: the server refuses the export with error 0x${type.toString(16)}${because}`);
  }
}

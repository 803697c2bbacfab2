/**
 * RPC messages (RFC 5531), without arguments and results.
 *
 *     call    xid | 0 | 2 | program | version | procedure | credentials | verifier | arguments
 *     reply   xid | 1 | 0 accepted | verifier | status | results        or        xid | 1 | 1 denied | why
 */
import type { XdrReader } from '../xdr/xdr-reader.js';
import type { XdrWriter } from '../xdr/xdr-writer.js';

export const RPC_VERSION = 2;
export const MessageType = { CALL: 0, REPLY: 1 } as const;
export const ReplyStatus = { ACCEPTED: 0, DENIED: 1 } as const;
export const AcceptStatus = { SUCCESS: 0, PROG_UNAVAIL: 1, PROG_MISMATCH: 2, PROC_UNAVAIL: 3, GARBAGE_ARGS: 4, SYSTEM_ERR: 5 } as const;
export const RejectStatus = { RPC_MISMATCH: 0, AUTH_ERROR: 1 } as const;
export const AuthStatus = { OK: 0, BADCRED: 1, REJECTEDCRED: 2, BADVERF: 3, REJECTEDVERF: 4, TOOWEAK: 5 } as const;
export const AuthFlavor = { NONE: 0, SYS: 1, SHORT: 2, GSS: 6 } as const;

/** Longest body of credentials or of a verifier, in bytes. */
export const AUTH_BYTES_MAX = 400;
const MACHINE_NAME_BYTES_MAX = 255;
const GROUPS_MAX = 16;
/** Shortest call and reply that can be parsed. */
export const CALL_BYTES_MIN = 40;
export const REPLY_BYTES_MIN = 24;

/** Who calls, by `AUTH_SYS`; for `AUTH_NONE` nobody. */
export interface Credentials {
  readonly flavor: number;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

/** Nobody: uid and gid of the anonymous user. */
export const ANONYMOUS_ID = 65_534;
export const NOBODY: Credentials = { flavor: AuthFlavor.NONE, uid: ANONYMOUS_ID, gid: ANONYMOUS_ID, groups: [] };

/** The head of a call. */
export interface CallHead {
  readonly xid: number;
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
}

/** Writes the head of a call; its arguments follow. */
export function putCall(
  out: XdrWriter,
  { xid, program, version, procedure }: CallHead,
  credentials: Credentials,
  machineName: Uint8Array,
): void {
  out.u32(xid).u32(MessageType.CALL).u32(RPC_VERSION).u32(program).u32(version).u32(procedure);
  if (credentials.flavor === AuthFlavor.SYS) putAuthSys(out, credentials, machineName);
  else out.u32(AuthFlavor.NONE).u32(0);
  out.u32(AuthFlavor.NONE).u32(0);
}

function putAuthSys(out: XdrWriter, { uid, gid, groups }: Credentials, machineName: Uint8Array): void {
  out.u32(AuthFlavor.SYS);
  const lengthAt = out.position;
  out.u32(0);
  const bodyAt = out.position;
  out.u32(0).opaque(machineName.subarray(0, MACHINE_NAME_BYTES_MAX)).u32(uid).u32(gid);
  const sent = groups.slice(0, GROUPS_MAX);
  out.u32(sent.length);
  for (const group of sent) out.u32(group);
  out.patch(lengthAt, out.position - bodyAt);
}

/** Bytes of the largest call head with `AUTH_SYS`. */
export function callHeadBytes(machineNameBytes: number): number {
  return 24 + 8 + 4 + 4 + ((machineNameBytes + 3) & ~3) + 8 + 4 + 4 * GROUPS_MAX + 8;
}

/** What a server makes of the head of a call: either who calls what, or the refusal to send. */
export type ParsedCall =
  | { readonly kind: 'call'; readonly head: CallHead; readonly credentials: Credentials }
  | { readonly kind: 'rpc-mismatch'; readonly xid: number }
  | { readonly kind: 'auth-error'; readonly xid: number; readonly status: number }
  | { readonly kind: 'drop' };

/**
 * Reads the head of a call; the reader then stands on its arguments. In the order a server checks: type, version of RPC, credentials.
 * @throws XdrError if it is cut off.
 */
export function getCall(input: XdrReader): ParsedCall {
  const xid = input.u32();
  if (input.u32() !== MessageType.CALL) return { kind: 'drop' };
  if (input.u32() !== RPC_VERSION) return { kind: 'rpc-mismatch', xid };
  const head = { xid, program: input.u32(), version: input.u32(), procedure: input.u32() };
  const flavor = input.u32();
  const bodyBytes = input.length(AUTH_BYTES_MAX, 'credentials');
  const bodyEnd = input.left - ((bodyBytes + 3) & ~3);
  if (bodyEnd < 0) input.fail('credentials are cut off');
  let credentials: Credentials | null = null;
  if (flavor === AuthFlavor.SYS) credentials = getAuthSys(input, bodyEnd);
  else if (flavor === AuthFlavor.NONE) credentials = NOBODY;
  input.skip(Math.max(input.left - bodyEnd, 0));
  const verifierFlavor = input.u32();
  const verifier = input.opaque(AUTH_BYTES_MAX, 'a verifier');
  // Procedure 0 does nothing, for anybody.
  if (head.procedure === 0) return { kind: 'call', head, credentials: credentials ?? NOBODY };
  if (credentials === null) return { kind: 'auth-error', xid, status: AuthStatus.BADCRED };
  if (verifierFlavor !== AuthFlavor.NONE || verifier.length > 0) return { kind: 'auth-error', xid, status: AuthStatus.BADVERF };
  return { kind: 'call', head, credentials };
}

/** @returns null if it does not fit into its body, which ends with `leftAtEnd` bytes left. */
function getAuthSys(input: XdrReader, leftAtEnd: number): Credentials | null {
  const room = (): number => input.left - leftAtEnd;
  if (room() < 8) return null;
  input.skip(4); // stamp
  const nameBytes = input.u32();
  if (nameBytes > MACHINE_NAME_BYTES_MAX || ((nameBytes + 3) & ~3) + 12 > room()) return null;
  input.fixed(nameBytes);
  const uid = input.u32();
  const gid = input.u32();
  const nrGroups = input.u32();
  if (nrGroups > GROUPS_MAX || nrGroups * 4 > room()) return null;
  return { flavor: AuthFlavor.SYS, uid, gid, groups: Array.from({ length: nrGroups }, () => input.u32()) };
}

/** Writes the head of an accepted reply; for SUCCESS the results follow. */
export function putAccepted(out: XdrWriter, xid: number, status: number): void {
  out.u32(xid).u32(MessageType.REPLY).u32(ReplyStatus.ACCEPTED).u32(AuthFlavor.NONE).u32(0).u32(status);
}

/** Writes the reply to a call for a version of a program that there is not. */
export function putProgramMismatch(out: XdrWriter, xid: number, lowest: number, highest: number): void {
  putAccepted(out, xid, AcceptStatus.PROG_MISMATCH);
  out.u32(lowest).u32(highest);
}

/** Writes a refusal. */
export function putDenied(out: XdrWriter, call: Extract<ParsedCall, { kind: 'rpc-mismatch' | 'auth-error' }>): void {
  out.u32(call.xid).u32(MessageType.REPLY).u32(ReplyStatus.DENIED);
  if (call.kind === 'rpc-mismatch') out.u32(RejectStatus.RPC_MISMATCH).u32(RPC_VERSION).u32(RPC_VERSION);
  else out.u32(RejectStatus.AUTH_ERROR).u32(call.status);
}

/** What a reply says, before its results. */
export type ParsedReply =
  | { readonly kind: 'success' }
  /** The server speaks other versions of the program, or of RPC. */
  | { readonly kind: 'mismatch'; readonly lowest: number; readonly highest: number }
  | { readonly kind: 'auth-error'; readonly status: number }
  | { readonly kind: 'error'; readonly status: number };

const SUCCESS: ParsedReply = { kind: 'success' };

/** Reads a reply behind its xid; after `success` the reader stands on the results. @throws XdrError. */
export function getReply(input: XdrReader): ParsedReply {
  if (input.u32() !== MessageType.REPLY) input.fail('a call where a reply was expected');
  if (input.enum(ReplyStatus.DENIED, 'the status of a reply') === ReplyStatus.DENIED) {
    const isMismatch = input.enum(RejectStatus.AUTH_ERROR, 'the reason of a refusal') === RejectStatus.RPC_MISMATCH;
    return isMismatch ? { kind: 'mismatch', lowest: input.u32(), highest: input.u32() } : { kind: 'auth-error', status: input.u32() };
  }
  input.skip(4);
  input.opaque(AUTH_BYTES_MAX, 'a verifier');
  const status = input.u32();
  if (status === AcceptStatus.SUCCESS) return SUCCESS;
  if (status === AcceptStatus.PROG_MISMATCH) return { kind: 'mismatch', lowest: input.u32(), highest: input.u32() };
  return { kind: 'error', status };
}

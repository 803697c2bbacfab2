/**
 * What a packet transport does with memory in an emergency (M12, M13), as decisions that a test or the lab can exchange under the token
 * `RECEIVE_RULES`. A program registers nothing: the default is the whole mechanism, as far as the kernel's reserve policy has it (M23).
 */
import { type ReservePolicy, type Token, token } from '@tidemark/core';

/** Decisions of a packet transport about reserve memory. */
export interface ReceiveRules {
  readonly name: string;
  /** The mark: is a socket that was opened as `memalloc` treated as such? */
  marks(isMemalloc: boolean): boolean;
  /** The filter: may a buffer reach a socket's queue or handler? */
  passes(policy: ReservePolicy, isFromReserve: boolean, isMarked: boolean): boolean;
  /** What the planner counts of a holder's bound, in bytes. */
  plannedBytes(holder: string, boundBytes: number): number;
}

/** M12 and M13 as they are meant. */
export const emergencyRules: ReceiveRules = {
  name: 'emergency',
  marks: (isMemalloc) => isMemalloc,
  passes: (policy, isFromReserve, isMarked) => isMarked || !isFromReserve || !policy.dropsTagged,
  plannedBytes: (_holder, boundBytes) => boundBytes,
};

/** The rules of a kernel's packet transports; the default is `emergencyRules`. */
export const RECEIVE_RULES: Token<ReceiveRules> = token('receive-rules');

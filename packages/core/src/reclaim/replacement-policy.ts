/**
 * The replacement policy: in which order pages go. Reclaim asks it for candidates, judges each (`verdict.ts`), and gives back what
 * stays. A policy keeps frames on intrusive lists of the frame table and allocates nothing.
 */
import type { Pfn } from '../mm/arena.js';
import type { Cell } from '../mm/cell.js';
import type { Counters } from '../mm/counters.js';
import type { FrameTable } from '../mm/frame-table.js';
import type { PageAging } from '../mm/reclaimer.js';

/** The two kinds of pages that reclaim chooses between. */
export const PageKind = { ANON: 0, FILE: 1 } as const;
export type PageKind = (typeof PageKind)[keyof typeof PageKind];

/** Where a page that stays goes. */
export const PutBack = {
  /** Among the new ones of the inactive pages. */
  KEEP: 0,
  /** Among the active ones. */
  ACTIVATE: 1,
  /** Next to go. */
  SOON: 2,
} as const;
export type PutBack = (typeof PutBack)[keyof typeof PutBack];

/** What reclaim needs of a policy. */
export interface ReplacementPolicy extends PageAging {
  /** A page that was removed comes back. */
  putBack(pfn: Pfn, where: PutBack): void;
  /** Takes up to `max` candidates of a kind off the lists, next to go first. @returns how many it wrote to `into`. */
  isolate(kind: PageKind, into: Uint32Array, max: number): number;
  /** Walks the pages of a kind, next to go first, inactive ones before active ones: pass -1, then what was returned, until it is -1. */
  older(kind: PageKind, after: Pfn): Pfn;
  /** The shadow a page leaves when it is evicted now. */
  evicted(pfn: Pfn): Cell;
  /** Pages of a kind on the lists. */
  count(kind: PageKind): number;
  /** Those of them that would go first. */
  countInactive(kind: PageKind): number;
}

/** What a policy is made of. */
export interface PolicyParts {
  readonly frames: FrameTable;
  readonly counters: Counters;
  /** True if anonymous pages can go anywhere: decides whether they weigh in refault distances. */
  readonly maySwap: () => boolean;
}

/** Registered under `REPLACEMENT_POLICY`. */
export type ReplacementPolicyFactory = (parts: PolicyParts) => ReplacementPolicy;

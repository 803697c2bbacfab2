/** What a check found: kept up to a bound, counted beyond it. */

/** One thing that is not as it should be. */
export interface Finding {
  /** As e2fsck counts them: 1 inodes and blocks, 2 directories, 3 connections, 4 links, 5 bitmaps and counts; 0 the superblock. */
  readonly pass: 0 | 1 | 2 | 3 | 4 | 5;
  readonly message: string;
}

/** Findings that are kept. */
const FINDINGS_MAX = 1000;

export class Findings {
  readonly kept: Finding[] = [];
  /** All of them, those that are not kept included. */
  count = 0;

  add(pass: Finding['pass'], message: string): void {
    this.count++;
    if (this.kept.length < FINDINGS_MAX) this.kept.push({ pass, message });
  }
}

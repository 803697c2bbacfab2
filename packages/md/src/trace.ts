/** The trace point `md`: what happens to arrays. */
declare module '@tidemark/core' {
  interface TraceEvents {
    /** A member failed, was added or removed; a pass over the array began or ended; the bitmap was given up. `detail` is an errno, or sectors. */
    md: {
      array: string;
      event: 'failed' | 'added' | 'removed' | 'in-sync' | 'sync-begins' | 'sync-ends' | 'bitmap-failed' | 'last-member';
      what: string;
      detail: number;
    };
  }
}

export {};

/**
 * What flushes of one device have told: a device that answers `WRITE_AGAIN` (its server restarted) says so once, and everybody who has written to it
 * since his last good flush has to hear of it: the journal, and each pinned file.
 */
export class FlushLosses {
  /** Times that what was written may have been lost. */
  count = 0;
}

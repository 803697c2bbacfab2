/**
 * The rules that a plugin must keep, each with a name. A case checks one rule, and its failure says which: whoever breaks it need not guess
 * from a stack trace what was wanted of him. The sentences are what `docs/writing-a-filesystem.md` explains.
 */

/** Rules of filesystems. */
export const FILE_SYSTEM_RULES = {
  'reads-what-was-written': 'A read gives the bytes of the last write, at every offset, and zeroes where nothing was written.',
  'truncation-forgets': 'What lay behind a smaller size is gone: growing the file again shows zeroes.',
  'holes-read-as-zeroes': 'A range that was punched or never written reads as zeroes, and what lies beside it stays.',
  'names-lead-to-files': 'A name that was made leads to its file until it is moved or removed, and to nothing afterwards.',
  'rename-replaces-in-one-step':
    'After a rename the old name is gone and the new one stands for the moved file, whatever it stood for before.',
  'links-are-counted': 'nlink is the number of names; a directory counts itself and its subdirectories.',
  'unlinked-files-live-while-open':
    'A file without a name keeps its content until its last opener has closed it; then its room is free again.',
  'directories-are-removed-empty': 'A directory with entries is neither removed nor replaced: ENOTEMPTY, and nothing has changed.',
  'cookies-stay-good': 'A reader of a directory meets what stays exactly once, whatever is made and removed meanwhile.',
  'attributes-last': 'Mode, owner, times, size and type are what was set, also after the inode has left memory.',
  'links-lead-where-they-were-told': 'A symbolic link gives back the text it was made with.',
  'extended-attributes-last': 'An extended attribute gives back its value; making, replacing and removing it answer as POSIX systems do.',
  'unclaimed-features-are-refused': 'What is not claimed is refused with EOPNOTSUPP, EPERM or EROFS, and leaves nothing behind.',
  'claims-are-what-it-can-do': 'What the running filesystem can do, found by trying, is what it claims.',
  'nothing-changes-read-only': 'A read-only filesystem answers EROFS to every change.',
  'limits-are-answered':
    'Beyond a limit that it declares itself it answers EFBIG, ENAMETOOLONG or ENOSPC, and what was there before stays.',
  'full-is-told-to-the-writer':
    'A full filesystem answers ENOSPC to the write, no later sync reports it for an accepted page, and removing makes room.',
  'room-adds-up': 'Free room is at most the total, falls when files are written, and comes back when they are removed.',
  'operations-do-not-mix': 'Operations that run side by side do what they would have done one after the other, in some order.',
  'one-cache-under-every-face': 'Buffered, direct, truncating and punching users of one file see one content.',
  'content-survives-unmount': 'What is there when it is unmounted is there when it is mounted again.',
  'handles-survive':
    'A file handle finds its file with nothing cached, and only that file: ESTALE afterwards, also if its number is used again.',
  'works-in-its-declared-memory': 'In an arena barely larger than what it declares everything works, or says ENOMEM, and nothing hangs.',
  'no-unit-holds-more-than-declared':
    'No unit of its writeout holds more frames than its node declares, whatever memory they came from (M5).',
  'writeout-is-funded':
    'Writeout allocates nothing beyond its ticket, begins no transaction and takes no lock without the ticket of its node (M7, M11).',
  'failed-allocations-are-answers':
    'Whichever allocation fails, the operation ends with an errno, and nothing hangs, leaks or is half done.',
  'failed-io-is-an-answer':
    'Whichever request of the device fails, the operation ends with an errno, the failure is told to a sync, and the rest can still be read.',
  'synced-content-survives-a-crash': 'What was synced before the power went is there afterwards, whole.',
  'a-crash-leaves-a-state-that-was':
    'After a crash at any write or flush the tree is one that was there at some time, with no file showing what belongs to another.',
  'a-pin-needs-nothing': 'After a file is pinned, pages go out, come in and are flushed with every allocation failing.',
  'a-pin-holds-its-place':
    'While it is pinned a file is neither truncated nor punched (ETXTBSY), and its pages lie where they lay, whatever is cleaned or removed.',
  'a-pin-has-no-holes': 'A file with a hole, or shorter than a page, is not pinned: EINVAL, and nothing is kept.',
  'everything-is-given-back': 'After it is unmounted no frame, timer or node of it is left.',
} as const;

/** Rules of block devices. */
export const BLOCK_DEVICE_RULES = {
  'reads-what-was-written':
    'A read gives the bytes of the last write that ended before it began, and zeroes or anything at all where nothing was written.',
  'writes-touch-only-their-range': 'A write changes the bytes of its range and no others.',
  'segments-go-in-order': 'The segments of a request are one range: first to last, whatever their lengths.',
  'ends-each-request-once': 'Each request ends, exactly once, and touches no memory of it afterwards.',
  'requests-do-not-mix': 'Requests to different ranges that are in flight together do not disturb each other.',
  'flushed-content-survives-a-crash': 'What ended before a flush was asked for that ended well is there after the power has gone.',
  'fua-is-durable-when-it-ends': 'A write with force-unit-access is durable when it ends.',
  'trusted-means-durable': 'A device that says it is trusted keeps what it has acknowledged.',
  'zeroes-are-zeroes': 'A range that zeroes were written to reads as zeroes; a discarded one reads as anything, and its neighbours stay.',
  'refuses-what-it-cannot-do':
    'What it says it cannot do ends with EOPNOTSUPP, what lies outside with ENOSPC or EINVAL, writing a read-only device with EROFS.',
  'needs-no-memory': 'Requests are served with every allocation failing: what they take was taken at open.',
  'declares-what-it-takes': 'Its node holds no more than its footprint declares, and gives all of it back when it is closed.',
  'closing-ends-what-is-in-flight': 'Closing ends what is in flight, once, and what comes afterwards ends with EIO.',
} as const;

/** Name of a rule. */
export type FileSystemRule = keyof typeof FILE_SYSTEM_RULES;
/** Name of a rule of block devices. */
export type BlockDeviceRule = keyof typeof BLOCK_DEVICE_RULES;
/** Name of a rule of either kind. */
export type Rule = FileSystemRule | BlockDeviceRule;

const SENTENCES: Readonly<Record<string, string>> = { ...BLOCK_DEVICE_RULES, ...FILE_SYSTEM_RULES };

/** A rule that was broken: which, by whom, and what was seen. `cause` is the error as it came. */
export class ConformanceFailure extends Error {
  constructor(
    readonly subject: string,
    readonly rule: Rule,
    override readonly cause: unknown,
  ) {
    const seen = cause instanceof Error ? cause.message : String(cause);
    super(`${subject} breaks the rule ${rule}: ${SENTENCES[rule]}\n  ${seen}`);
    this.name = 'ConformanceFailure';
    if (cause instanceof Error && cause.stack !== undefined) this.stack = `${this.message}\n${cause.stack.split('\n').slice(1).join('\n')}`;
  }
}

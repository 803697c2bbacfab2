/**
 * Where a mount is, and how it is to behave: `nfs://HOST[:PORT]/EXPORT[?OPTION=VALUE&…]`, the form of libnfs, and options of `kernel.mount`, which
 * win.
 */
import { KernelError, type MountOptions } from '@tidemark/core';

/** Options of a mount. The names of those in a URL are the same, but for `noac`, `soft` and `hard`, which want no value. */
export interface NfsMountOptions extends MountOptions {
  /** Port of the server. Default: the portmapper's answer. */
  readonly nfsport?: number;
  /** Port of its mount daemon. Default: the portmapper's answer, or `nfsport` if that is given. */
  readonly mountport?: number;
  /** Port of the portmapper. Default 111. */
  readonly portmapport?: number;
  /** Who calls. Default 0. */
  readonly uid?: number;
  readonly gid?: number;
  /** Further groups, at most 16; in a URL with commas. */
  readonly groups?: readonly number[];
  /** A call without a reply ends with ETIMEDOUT after `retrans` more of `timeo`. Default false: it waits. */
  readonly soft?: boolean;
  /** Tenths of a second without a reply until a call is sent again. Default 600. */
  readonly timeo?: number;
  /** Times it is, before the connection counts as dead. Default 2. */
  readonly retrans?: number;
  /** Bytes of a READ, of a WRITE, of a READDIR at most. Default: what server and plan allow. */
  readonly rsize?: number;
  readonly wsize?: number;
  readonly dsize?: number;
  /** Seconds for which attributes of files and directories are believed, at least and at most. Default 3, 60, 30, 60. */
  readonly acregmin?: number;
  readonly acregmax?: number;
  readonly acdirmin?: number;
  readonly acdirmax?: number;
  /** Attributes are believed for no time at all. */
  readonly noac?: boolean;
  /** Milliseconds before a call that was answered JUKEBOX is made again. Default 5,000. */
  readonly jukeboxMs?: number;
  /** Whether READDIRPLUS is used. Default true. */
  readonly rdirplus?: boolean;
}

/** What a source and its options come to. */
export interface NfsTarget {
  /** `nfs://host/export`, without options: the name of the mount. */
  readonly name: string;
  readonly host: string;
  readonly exportPath: string;
  readonly nfsPort: number | null;
  readonly mountPort: number | null;
  readonly portmapPort: number;
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly isSoft: boolean;
  readonly timeoMs: number;
  readonly retrans: number;
  readonly readBytesMax: number;
  readonly writeBytesMax: number;
  readonly directoryBytesMax: number;
  readonly fileMinMs: number;
  readonly fileMaxMs: number;
  readonly directoryMinMs: number;
  readonly directoryMaxMs: number;
  readonly jukeboxMs: number;
  readonly usesPlus: boolean;
}

/** An option that is a number. */
export interface NfsOptionLimit {
  readonly least: number;
  readonly most: number;
  readonly standard: number;
}

const PORT: NfsOptionLimit = { least: 1, most: 65_535, standard: 0 };
const ID: NfsOptionLimit = { least: 0, most: 0xffff_fffe, standard: 0 };
const SECONDS = (standard: number): NfsOptionLimit => ({ least: 0, most: 86_400, standard });
const TRANSFER: NfsOptionLimit = { least: 1024, most: 1 << 20, standard: 1 << 20 };
/** Options that are numbers. */
const NUMBERS = {
  nfsport: PORT,
  mountport: PORT,
  portmapport: { ...PORT, standard: 111 },
  uid: ID,
  gid: ID,
  timeo: { least: 1, most: 36_000, standard: 600 },
  retrans: { least: 0, most: 100, standard: 2 },
  rsize: TRANSFER,
  wsize: TRANSFER,
  dsize: { ...TRANSFER, standard: 65_536 },
  acregmin: SECONDS(3),
  acregmax: SECONDS(60),
  acdirmin: SECONDS(30),
  acdirmax: SECONDS(60),
  jukeboxMs: { least: 1, most: 600_000, standard: 5_000 },
} as const satisfies Record<string, NfsOptionLimit>;
/** Options that are there or not. */
const FLAGS = ['soft', 'hard', 'noac', 'rdirplus', 'nordirplus'] as const;
const GROUPS_MAX = 16;
/** What core and the command line know of a mount, and what says nothing new. */
const OTHERS = ['readOnly', 'mode', 'groups', 'version', 'vers', 'device'];

/** The options that are numbers, with their bounds: for documentation. */
export const NFS_NUMBER_OPTIONS: Readonly<Record<string, NfsOptionLimit>> = NUMBERS;
/** Every option by name. */
export const NFS_OPTION_NAMES: readonly string[] = [...Object.keys(NUMBERS), ...FLAGS, 'groups', 'version'];

/**
 * Reads a source and its options.
 * @throws KernelError EINVAL naming what is wrong.
 */
export function parseNfsUrl(source: string, options: NfsMountOptions = {}): NfsTarget {
  const match = /^nfs:\/\/(?:\[([0-9A-Fa-f:.]+)\]|([^:/?#[\]@\s]+))(?::(\d{1,5}))?(\/[^?#]*)?(?:\?([^#]*))?$/i.exec(source);
  if (match === null) throw invalid(source, 'want nfs://HOST[:PORT]/EXPORT[?OPTION=VALUE&…]');
  const [, v6, name, port, path = '/', query = ''] = match;
  const given = new Map<string, string>(port === undefined ? [] : [['nfsport', port]]);
  for (const part of query === '' ? [] : query.split('&')) {
    const at = part.indexOf('=');
    const key = at < 0 ? part : part.slice(0, at);
    if (!NFS_OPTION_NAMES.includes(key) && key !== 'vers') throw invalid(source, `there is no option ${JSON.stringify(key)}`);
    given.set(key, at < 0 ? '1' : part.slice(at + 1));
  }
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined || key === 'readOnly') continue;
    if (!NFS_OPTION_NAMES.includes(key) && !OTHERS.includes(key)) throw invalid(source, `there is no option ${JSON.stringify(key)}`);
    given.set(key, typeof value === 'boolean' ? (value ? '1' : '0') : String(value));
  }
  const number = (key: keyof typeof NUMBERS): number => {
    const { least, most, standard } = NUMBERS[key];
    const text = given.get(key);
    if (text === undefined) return standard;
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < least || value > most) throw invalid(source, `${key} is ${text}; want ${least} to ${most}`);
    return value;
  };
  const flag = (key: (typeof FLAGS)[number]): boolean => {
    const text = given.get(key);
    if (text !== undefined && text !== '0' && text !== '1') throw invalid(source, `${key} is ${text}; want nothing, 0 or 1`);
    return text === '1';
  };
  for (const key of ['version', 'vers'])
    if (given.has(key) && given.get(key) !== '3') throw invalid(source, `version ${given.get(key)} is not spoken here; 3 is`);
  const nfsPort = given.has('nfsport') ? number('nfsport') : null;
  const isUncached = flag('noac');
  const seconds = (key: 'acregmin' | 'acregmax' | 'acdirmin' | 'acdirmax'): number => (isUncached ? 0 : number(key) * 1000);
  const host = v6 ?? name;
  return {
    name: `nfs://${v6 === undefined ? host : `[${host}]`}${port === undefined ? '' : `:${port}`}${path}`,
    host,
    exportPath: decodePath(source, path),
    nfsPort,
    mountPort: given.has('mountport') ? number('mountport') : nfsPort,
    portmapPort: number('portmapport'),
    uid: number('uid'),
    gid: number('gid'),
    groups: groupsOf(source, given.get('groups')),
    isSoft: flag('soft') && !flag('hard'),
    timeoMs: number('timeo') * 100,
    retrans: number('retrans'),
    readBytesMax: number('rsize'),
    writeBytesMax: number('wsize'),
    directoryBytesMax: number('dsize'),
    fileMinMs: seconds('acregmin'),
    fileMaxMs: Math.max(seconds('acregmin'), seconds('acregmax')),
    directoryMinMs: seconds('acdirmin'),
    directoryMaxMs: Math.max(seconds('acdirmin'), seconds('acdirmax')),
    jukeboxMs: number('jukeboxMs'),
    usesPlus: !flag('nordirplus') && given.get('rdirplus') !== '0',
  };
}

function groupsOf(source: string, text: string | undefined): number[] {
  if (text === undefined || text === '') return [];
  const groups = text.split(',').map(Number);
  const isId = (group: number): boolean => Number.isInteger(group) && group >= ID.least && group <= ID.most;
  if (groups.length > GROUPS_MAX || !groups.every(isId)) throw invalid(source, `groups are ${text}; want up to ${GROUPS_MAX} numbers`);
  return groups;
}

function decodePath(source: string, path: string): string {
  try {
    return decodeURIComponent(path);
  } catch (error) {
    throw new KernelError('EINVAL', `${source}: the path has a % that is none`, { cause: error });
  }
}

function invalid(source: string, why: string): KernelError {
  return new KernelError('EINVAL', `${JSON.stringify(source)}: ${why}`);
}

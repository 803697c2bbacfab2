/**
 * Procedures that make files: CREATE, MKDIR, SYMLINK, MKNOD.
 *
 * An exclusive CREATE keeps the client's verifier in the times of the new file, where it lasts as long as the file does: the first word in the
 * seconds of mtime, the second in those of atime, 31 bits of each. The client sets the times it wants next.
 */
import { decodeName, FileType, type Inode, type NegErrno, type NewFile, PATH_MAX, type Steps } from '@tidemark/core';
import { getCreate, getMakeDirectory, getMakeNode, getMakeSymlink } from '../../protocol/arguments.js';
import { modeOfType, type NewAttributes, NO_CHANGE } from '../../protocol/attributes.js';
import { CreateMode, Nfs3, NfsStatus, NfsType, statusOfErrno } from '../../protocol/nfs3-constants.js';
import { putCreated } from '../../protocol/results.js';
import { type Place, placeOf } from '../arguments.js';
import { type Call, nfsProcedure, type Procedure, statusOf } from '../call.js';
import { changing, Subject } from '../subject.js';
import { applyAttributes, mayWrite } from './attribute-procedures.js';
import { childOf, parentOf } from './name-procedures.js';

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;
const VERIFIER_WORD_MASK = 0x7fff_ffff;
const MS = 1000;
const MAJOR_MAX = 4095;
const RDEV_MINOR_BITS = 2 ** 20;

/** The seconds that keep the verifier of an exclusive creation. */
interface VerifierTimes {
  readonly modified: number;
  readonly accessed: number;
}

/** The directory in which something is to be made, or the status it is refused with. */
function* directoryOf(call: Call, { handle, status }: Place): Steps<Subject | number> {
  const directory = yield* call.changeable(handle);
  if (typeof directory === 'number') return directory;
  if (!directory.inode.isDirectory) return NfsStatus.NOTDIR;
  return status === NfsStatus.OK ? directory : status;
}

/** Makes a file. @returns it, or the errno. */
function* make(call: Call, directory: Subject, name: string, file: NewFile): Steps<Subject | NegErrno> {
  const { directories } = call.service.vfs;
  const inode = yield* changing([directory], directories.makeIn(call.who(directory), parentOf(directory, name), file));
  return typeof inode === 'number' ? inode : taken(call, directory, inode);
}

function taken(call: Call, { target }: Subject, inode: Inode): Subject {
  const subject = new Subject(target, inode);
  call.subjects.push(subject);
  return subject;
}

/** Sets what a new file is to have beside its mode; owners are the superuser's to choose. */
function* dress(call: Call, made: Subject, wanted: NewAttributes): Steps<NegErrno> {
  const who = call.who(made);
  const isSuperuser = who.credentials.uid === 0;
  const { uid, gid } = wanted;
  const size = made.inode.isRegular && wanted.sizeBytes !== 0 ? wanted.sizeBytes : null;
  const rest = { ...wanted, mode: null, uid: isSuperuser ? uid : null, gid: isSuperuser ? gid : null, sizeBytes: size };
  return yield* applyAttributes(call, made, who, rest);
}

/** Answers with a file that was made, or was there. */
function answer(call: Call, directory: Subject, made: Subject): number {
  const result = { handle: call.handleOf(directory, made.inode), attributes: made.attributes, directory: directory.wcc };
  putCreated(call.out.u32(NfsStatus.OK), result);
  return NfsStatus.OK;
}

/** Makes a file, dresses it, makes all of it durable, and answers. */
function* makeAndAnswer(call: Call, place: Place, file: NewFile, attributes: NewAttributes): Steps<number> {
  const directory = yield* directoryOf(call, place);
  if (typeof directory === 'number') return directory;
  const made = yield* make(call, directory, place.name, file);
  return typeof made === 'number' ? statusOf(made) : yield* finish(call, directory, made, dress(call, made, attributes));
}

function* finish(call: Call, directory: Subject, made: Subject, dressing: Steps<NegErrno>): Steps<number> {
  const dressed = yield* dressing;
  const durable = yield* call.makeDurable([made.inode, directory.inode]);
  return dressed < 0 || durable < 0 ? statusOf(dressed || durable) : answer(call, directory, made);
}

function timesOfVerifier(verifier: Uint8Array): VerifierTimes {
  const view = new DataView(verifier.buffer, verifier.byteOffset, verifier.byteLength);
  return { modified: (view.getUint32(0) & VERIFIER_WORD_MASK) * MS, accessed: (view.getUint32(4) & VERIFIER_WORD_MASK) * MS };
}

const create = nfsProcedure(Nfs3.CREATE, {
  isUpdate: true,
  read: (input, service) => {
    const { mode, attributes, verifier, ...where } = getCreate(input);
    return {
      place: placeOf(where, service),
      mode,
      attributes: attributes ?? NO_CHANGE,
      times: verifier === null ? null : timesOfVerifier(verifier),
    };
  },
  *run(call, { place, mode, attributes, times }) {
    const directory = yield* directoryOf(call, place);
    if (typeof directory === 'number') return directory;
    const permissions = times === null ? (attributes.mode ?? FILE_MODE) : 0;
    const made = yield* make(call, directory, place.name, { mode: FileType.REGULAR | permissions });
    if (typeof made === 'number') {
      const status = statusOf(made);
      const isDots = place.name === '.' || place.name === '..';
      if (status !== NfsStatus.EXIST || mode === CreateMode.GUARDED || isDots) return status;
      return yield* useExisting(call, directory, place.name, attributes, times);
    }
    const { attributes: changes } = call.service.vfs;
    const dressing = times === null ? dress(call, made, attributes) : changes.changeTimes(call.who(made), made.inode, times);
    return yield* finish(call, directory, made, dressing);
  },
});

/** The file is there: for an exclusive creation it is the same one if it bears the verifier; else it is used, and cut if that is asked for. */
function* useExisting(call: Call, directory: Subject, name: string, attributes: NewAttributes, times: VerifierTimes | null): Steps<number> {
  const inode = yield* childOf(call, directory, name);
  if (typeof inode === 'number') return statusOfErrno(inode);
  const there = taken(call, directory, inode);
  if (times !== null) {
    const isSame = inode.isRegular && inode.sizeBytes === 0 && inode.modifiedMs === times.modified && inode.accessedMs === times.accessed;
    return isSame ? answer(call, directory, there) : NfsStatus.EXIST;
  }
  if (!inode.isRegular || attributes.sizeBytes === null) return answer(call, directory, there);
  const who = call.who(there);
  if (!mayWrite(who, there)) return NfsStatus.ACCES;
  const status = yield* applyAttributes(call, there, who, { ...NO_CHANGE, sizeBytes: attributes.sizeBytes });
  const durable = yield* call.makeDurable([inode]);
  return status < 0 || durable < 0 ? statusOf(status || durable) : answer(call, directory, there);
}

const mkdir = nfsProcedure(Nfs3.MKDIR, {
  isUpdate: true,
  read: (input, service) => {
    const { attributes, ...where } = getMakeDirectory(input);
    return { place: placeOf(where, service), attributes };
  },
  run: (call, { place, attributes }) =>
    makeAndAnswer(call, place, { mode: FileType.DIRECTORY | (attributes.mode ?? DIRECTORY_MODE) }, attributes),
});

const symlink = nfsProcedure(Nfs3.SYMLINK, {
  isUpdate: true,
  read: (input, service) => {
    const { attributes, target, ...where } = getMakeSymlink(input);
    const status =
      target.length === 0 || target.includes(0) ? NfsStatus.INVAL : target.length >= PATH_MAX ? NfsStatus.NAMETOOLONG : NfsStatus.OK;
    const place = placeOf(where, service);
    return { place: { ...place, status: place.status || status }, attributes, linkTarget: decodeName(target) };
  },
  run: (call, { place, attributes, linkTarget }) => makeAndAnswer(call, place, { mode: FileType.SYMLINK | 0o777, linkTarget }, attributes),
});

const mknod = nfsProcedure(Nfs3.MKNOD, {
  isUpdate: true,
  read: (input, service) => {
    const { type, attributes, rdevMajor, rdevMinor, ...where } = getMakeNode(input);
    return { place: placeOf(where, service), type, attributes: attributes ?? NO_CHANGE, rdevMajor, rdevMinor };
  },
  *run(call, { place, type, attributes, rdevMajor, rdevMinor }) {
    const directory = yield* directoryOf(call, place);
    if (typeof directory === 'number') return directory;
    const isDevice = type === NfsType.BLOCK || type === NfsType.CHARACTER;
    if (!isDevice && type !== NfsType.SOCKET && type !== NfsType.FIFO) return NfsStatus.BADTYPE;
    if (isDevice && call.who(directory).credentials.uid !== 0) return NfsStatus.PERM;
    if (rdevMajor > MAJOR_MAX || rdevMinor >= RDEV_MINOR_BITS) return NfsStatus.INVAL;
    const file = { mode: modeOfType(type) | (attributes.mode ?? FILE_MODE), rdev: rdevMajor * RDEV_MINOR_BITS + rdevMinor };
    const made = yield* make(call, directory, place.name, file);
    return typeof made === 'number' ? statusOf(made) : yield* finish(call, directory, made, dress(call, made, attributes));
  },
});

export const CREATE_PROCEDURES: Readonly<Record<number, Procedure>> = {
  [Nfs3.CREATE]: create,
  [Nfs3.MKDIR]: mkdir,
  [Nfs3.SYMLINK]: symlink,
  [Nfs3.MKNOD]: mknod,
};

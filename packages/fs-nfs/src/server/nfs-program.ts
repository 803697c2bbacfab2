/** The programs of the server: NFS version 3 without WRITE, whose data are streamed, and MOUNT version 3. */
import type { Steps } from '@tidemark/core';
import { MOUNT_PROGRAM, MOUNT_VERSION, Mount3, Nfs3, NFS_PROGRAM, NFS_VERSION } from '../protocol/nfs3-constants.js';
import type { Call, Procedure } from './call.js';
import { MOUNT_PROCEDURES } from './mount-program.js';
import { ATTRIBUTE_PROCEDURES } from './procedures/attribute-procedures.js';
import { CREATE_PROCEDURES } from './procedures/create-procedures.js';
import { DATA_PROCEDURES } from './procedures/data-procedures.js';
import { DIRECTORY_PROCEDURES } from './procedures/directory-procedures.js';
import { NAME_PROCEDURES } from './procedures/name-procedures.js';

/** One program of which there is one version. */
export interface Program {
  readonly version: number;
  readonly procedures: Readonly<Record<number, Procedure>>;
}

/** Procedure 0: nothing, for anybody. */
const nothing: Procedure = {
  isUpdate: false,
  prepare: () => ({
    resultBytes: 0,
    *run(_call: Call): Steps<void> {},
  }),
};

export const PROGRAMS: ReadonlyMap<number, Program> = new Map([
  [
    NFS_PROGRAM,
    {
      version: NFS_VERSION,
      procedures: {
        [Nfs3.NULL]: nothing,
        ...ATTRIBUTE_PROCEDURES,
        ...NAME_PROCEDURES,
        ...CREATE_PROCEDURES,
        ...DATA_PROCEDURES,
        ...DIRECTORY_PROCEDURES,
      },
    },
  ],
  [MOUNT_PROGRAM, { version: MOUNT_VERSION, procedures: { [Mount3.NULL]: nothing, ...MOUNT_PROCEDURES } }],
]);

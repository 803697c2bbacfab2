/** Recorded traces: gzipped text in the folder that `TIDEMARK_TRACES` names. They are data of others, and no part of the packages. */
import fs from 'node:fs';
import path from 'node:path';
import zlib from 'node:zlib';
import { parseTrace, type Trace } from '../traces/trace.js';

/** Names the folder in the environment. */
export const TRACES_VARIABLE = 'TIDEMARK_TRACES';

/** The folder, or null: then what needs recorded traces is skipped, and says so. */
export function tracesFolder(): string | null {
  const folder = process.env[TRACES_VARIABLE];
  return folder === undefined || folder === '' ? null : folder;
}

/** The trace in `NAME.gz` of a folder. @throws what reading or unpacking throws. */
export function recordedTrace(folder: string, name: string): Trace {
  return parseTrace(zlib.gunzipSync(fs.readFileSync(path.join(folder, `${name}.gz`))).toString('latin1'));
}

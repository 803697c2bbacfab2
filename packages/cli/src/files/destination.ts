/** Where `cp`, `mv` and `ln` put things: into a directory that is there, under their own names; else at the path that was given. */
import { UsageError } from '../outcome.js';
import { inside, lastName } from './file-word.js';
import { nameOf, type Place } from './trees.js';

/** A source and its place. */
export type Pair = readonly [from: Place, to: Place];

/**
 * Pairs each source with its place. A source without a name (a root, `.`) is the directory itself: what is in it goes into the target.
 * @throws UsageError for several sources and a target that is no directory.
 */
export async function pairUp(sources: readonly Place[], target: Place): Promise<Pair[]> {
  const isDirectory = (await target.tree.find(target.path, true))?.isDirectory() ?? false;
  if (!isDirectory && sources.length > 1)
    throw new UsageError(`${nameOf(target)} is no directory, and there are ${sources.length} sources`);
  return sources.map((from): Pair => {
    const name = lastName(from.path);
    return [from, isDirectory && name !== '' ? { tree: target.tree, path: inside(target.path, name) } : target];
  });
}

/**
 * Plugins. A plugin is a name and a function that registers things under tokens; the built-in ones use nothing a third party cannot.
 *
 *     export const myDisk = definePlugin({
 *       name: 'my-disk',
 *       register(container) { container.register(BLOCK_DRIVER, { useFactory: (c) => new MyDriver(c.resolve(MEMORY)) }); },
 *     });
 *     const kernel = await Kernel.boot({ memory: '8MiB', plugins: [host, myDisk] });
 */
import { KernelError } from '../base/errno.js';
import type { DependencyContainer } from './di.js';

/** What a program passes to `Kernel.boot`. */
export interface Plugin {
  readonly name: string;
  /** Plugins registered before this one. Each is registered once, however many ask for it. */
  readonly requires?: readonly Plugin[];
  /** Registers drivers, hooks and so on under their tokens. Must not resolve anything: the kernel is not there yet. */
  register(container: DependencyContainer): void;
}

/** Checks and returns a plugin. @throws KernelError EINVAL for one without name or register function. */
export function definePlugin(plugin: Plugin): Plugin {
  if (typeof plugin?.name !== 'string' || plugin.name === '' || typeof plugin.register !== 'function') {
    throw new KernelError('EINVAL', 'a plugin needs a name and a register function');
  }
  return Object.freeze(plugin);
}

/** The plugins in the order in which they are registered: what a plugin requires comes before it, nothing twice. */
export function orderPlugins(plugins: readonly Plugin[]): Plugin[] {
  const ordered: Plugin[] = [];
  const open = new Set<Plugin>();
  const visit = (plugin: Plugin): void => {
    if (typeof plugin?.register !== 'function') throw new KernelError('EINVAL', 'one of the plugins is none: see definePlugin');
    if (ordered.includes(plugin)) return;
    if (open.has(plugin)) throw new KernelError('EDEADLK', `plugin ${plugin.name} requires itself`);
    const twin = [...ordered, ...open].find((other) => other.name === plugin.name);
    if (twin !== undefined) throw new KernelError('EEXIST', `two plugins are named ${plugin.name}`);
    open.add(plugin);
    for (const required of plugin.requires ?? []) visit(required);
    open.delete(plugin);
    ordered.push(plugin);
  };
  for (const plugin of plugins) visit(plugin);
  return ordered;
}

/**
 * Injection: the one place that imports `reflect-metadata` and tsyringe. Plugins import what they need from `@tidemark/core`.
 *
 * Always by explicit token: `@inject(TOKEN)`, or `container.register(TOKEN, { useFactory })`. One child container per kernel, never
 * the global one. Resolving happens at boot, mount and open, never per I/O.
 */
import 'reflect-metadata';
import { container, type DependencyContainer, type InjectionToken } from 'tsyringe';

export type { DependencyContainer } from 'tsyringe';
export { inject, injectable, injectAll, instanceCachingFactory, Lifecycle, scoped } from 'tsyringe';

/** A token that says what it stands for: `container.resolve(CLOCK)` is a `Clock`. */
export type Token<T> = InjectionToken<T> & symbol & { readonly __stands_for?: T };

/** Makes a token; the name is for messages. Equal names are equal tokens, even across two copies of a package. */
export function token<T>(name: string): Token<T> {
  return Symbol.for(`tidemark.${name}`) as Token<T>;
}

/** A fresh container, child of nothing that is shared. */
export function createKernelContainer(): DependencyContainer {
  return container.createChildContainer();
}

/** Everything registered under `token`, in order of registration; empty if nothing is. */
export function resolveEach<T>(from: DependencyContainer, what: Token<T>): T[] {
  return from.isRegistered(what) ? from.resolveAll<T>(what) : [];
}

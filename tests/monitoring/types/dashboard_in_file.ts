// A dashboard as Grafana's own schema has it: no unknown field, no value of another type.
import type { Dashboard } from "@grafana/schema";

// The schema has enumerations where a file has their values.
type AsInFile<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? AsInFile<Item>[]
    : T extends object
      ? { [Name in keyof T]: AsInFile<T[Name]> }
      : T;

export type DashboardInFile = AsInFile<Dashboard>;

"""Stores trees and files, proves them and fetches them back. Knows providers but no rows."""

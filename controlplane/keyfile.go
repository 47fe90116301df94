package controlplane

import "github.com/fiberlb/fiberlb/controlplane/internal/secrets"

// GenerateKeyFile writes one new random key for Config.KeyFile to a file of
// mode 0600. A file that is there already stays as it is, and is no error.
func GenerateKeyFile(path string) error { return secrets.GenerateKeyFile(path) }

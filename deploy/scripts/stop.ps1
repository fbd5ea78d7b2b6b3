# Stop what start.ps1 started. Videos, jobs and keys stay, unless -Purge deletes them, after asking:
#   deploy\scripts\stop.ps1 [-Purge [-Yes]] [-EnvFile FILE]
param(
    [switch]$Purge,
    [switch]$Yes,
    [string]$EnvFile
)
# Not 'Stop': Windows PowerShell 5 would then end at the first line that docker writes to stderr. Exit codes are looked at.
$ErrorActionPreference = 'Continue'
$here = Split-Path -Parent $PSScriptRoot
if (-not $EnvFile) { $EnvFile = Join-Path $here '.env' }
if (-not (Test-Path $EnvFile)) { throw "There is no $EnvFile, so nothing was started." }

if ($Purge -and -not $Yes) {
    $answer = Read-Host 'This deletes all videos, jobs and keys of this installation. Type "purge" to go on'
    if ($answer -cne 'purge') { throw 'Nothing was deleted, nothing was stopped.' }
}

$arguments = @('compose', '--env-file', $EnvFile, '-f', (Join-Path $here 'compose.yaml'), '--profile', 'monitoring')

# Workers first: they hand back what they can't finish, and the rest is still there to take it.
docker @arguments stop worker
if ($LASTEXITCODE -ne 0) { throw "The workers can't be stopped; the lines above say why." }
$words = @('down')
if ($Purge) { $words += '--volumes' }
docker @arguments @words
if ($LASTEXITCODE -ne 0) { throw 'Stopping failed; the lines above say why.' }
if ($Purge) {
    Remove-Item ($EnvFile.Substring(0, $EnvFile.Length - 4) + '.api.key') -ErrorAction SilentlyContinue
    Write-Output 'Reelmill is stopped, and its volumes are deleted.'
} else {
    Write-Output 'Reelmill is stopped. Its volumes are kept; start.ps1 goes on where it stopped.'
}

# Start Reelmill with Docker Compose, in order, and see that each part answers:
#   deploy\scripts\start.ps1 [-Monitoring] [-EnvFile FILE]
# It may be run again at any time: what runs and is up to date stays as it is.
param(
    [switch]$Monitoring,
    [string]$EnvFile
)
# Not 'Stop': Windows PowerShell 5 would then end at the first line that docker writes to stderr. Exit codes are looked at.
$ErrorActionPreference = 'Continue'
$here = Split-Path -Parent $PSScriptRoot
if (-not $EnvFile) { $EnvFile = Join-Path $here '.env' }
if (-not $EnvFile.EndsWith('.env')) { throw "The name of $EnvFile must end in .env: such files are never committed." }
$keyFile = $EnvFile.Substring(0, $EnvFile.Length - 4) + '.api.key'

function New-Secret {
    $bytes = New-Object byte[] 32
    $random = [System.Security.Cryptography.RandomNumberGenerator]::Create()
    $random.GetBytes($bytes)
    $random.Dispose()
    return [System.BitConverter]::ToString($bytes).Replace('-', '').ToLower()
}

# Settings, made once; every empty secret gets a random value.
if (-not (Test-Path $EnvFile)) { Copy-Item (Join-Path $here '.env.example') $EnvFile -ErrorAction Stop }
$secrets = 'POSTGRES_PASSWORD', 'VALKEY_PASSWORD', 'STORAGE_ACCESS_KEY', 'STORAGE_SECRET_KEY', 'STORAGE_SEAL_KEY', 'GRAFANA_PASSWORD'
$lines = foreach ($line in [System.IO.File]::ReadAllLines($EnvFile)) {
    $name = $line.TrimEnd('=')
    if ($line.EndsWith('=') -and ($secrets -contains $name)) { $line + (New-Secret) } else { $line }
}
[System.IO.File]::WriteAllText($EnvFile, ($lines -join "`n") + "`n")

if (-not (Get-Command docker -ErrorAction SilentlyContinue)) { throw "Docker isn't installed; docs/how-to/deploy.md tells how." }
docker info *> $null
if ($LASTEXITCODE -ne 0) { throw "The Docker engine doesn't answer; start Docker Desktop." }

$arguments = @('compose', '--env-file', $EnvFile, '-f', (Join-Path $here 'compose.yaml'))
if ($Monitoring) { $arguments += @('--profile', 'monitoring') }

function Wait-Until([scriptblock]$true_, [int]$seconds, [string]$otherwise) {
    for ($second = 0; $second -lt $seconds; $second++) {
        if (& $true_) { return }
        Start-Sleep -Seconds 1
    }
    throw $otherwise
}

function Assert-Done([string]$what) {
    if ($LASTEXITCODE -ne 0) { throw "$what failed; the lines above say why." }
}

Write-Output 'Building the image ...'
docker @arguments build --quiet api
Assert-Done 'Building the image'

Write-Output 'Starting Valkey ...'
docker @arguments up -d valkey
Assert-Done 'Starting Valkey'
Wait-Until { (docker @arguments exec -T valkey valkey-cli ping) -eq 'PONG' } 60 "Valkey doesn't answer PING: look at its log."
Write-Output 'Valkey says PONG.'

Write-Output 'Bringing the database up to date ...'
docker @arguments run --rm -T setup
Assert-Done 'Bringing the database up to date'

if (-not (Test-Path $keyFile)) {
    $key = docker @arguments run --rm -T --no-deps api keys create first --scope upload --scope jobs:read --scope jobs:write --scope admin --quiet
    Assert-Done 'Making the first key'
    [System.IO.File]::WriteAllText($keyFile, "$key`n")
}

# In an upgrade, too: the database, the API, the workers.
Write-Output 'Starting storage and API ...'
docker @arguments up -d api
Assert-Done 'Starting the API'
Wait-Until {
    docker @arguments exec -T api python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz')" *> $null
    $LASTEXITCODE -eq 0
} 180 "The API isn't ready: look at its log."
Write-Output 'Starting workers ...'
docker @arguments up -d --remove-orphans
Assert-Done 'Starting the workers'

$url = ($lines | Where-Object { $_.StartsWith('PUBLIC_URL=') } | Select-Object -Last 1) -replace '^PUBLIC_URL=', ''
Write-Output "Reelmill is ready: $url"
Write-Output "The first API key is in $keyFile. Next:"
Write-Output "  Invoke-RestMethod $url/api/v1/jobs -Headers @{ Authorization = 'Bearer ' + (Get-Content '$keyFile') }"
